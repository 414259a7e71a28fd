"""The service against programs that are not ours: Autobahn, MLServer, Triton, KServe's client."""
