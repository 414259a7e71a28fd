"""The service against programs that are not ours: Autobahn, MLServer, KServe's client."""
