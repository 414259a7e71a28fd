"""The models that the settings name, from their files."""

from atpn.engine.inference import (
    CPU,
    FaceNetwork,
    ModelFile,
    Network,
    find_model,
    shipped_models,
    warm_sizes,
)
from atpn.errors import ConfigurationError, EngineUnavailable
from atpn.faces.detection import Detector
from atpn.settings import Settings

DETECTOR = "yunet"  # the model that finds faces in images; the others look at one face each


def open_detector(settings: Settings) -> Detector:
    """The face detector; the shipped one where the model folder has none."""
    folder = settings.model_dir or shipped_models()
    return Detector(
        find_model(folder if (folder / DETECTOR).is_dir() else shipped_models(), DETECTOR),
        threshold=settings.detector_threshold,
        max_side=settings.detector_max_side,
    )


def open_network(settings: Settings, model: ModelFile | None = None) -> Network:
    """The network of these settings, warm: the first requests are as fast as the next.

    ``model`` instead of the version they name. ConfigurationError where it cannot be had.
    """
    network = load_network(settings, model)
    if network.provider == CPU:
        network.warm_up([1, settings.max_batch_size])
    return network


def load_network(settings: Settings, model: ModelFile | None = None) -> Network:
    """The network of these settings as soon as it can be had; see `open_network`.

    It is warm where a first run of each size would take long: on a GPU.
    """
    if settings.engine != "local":
        return _open_remote(settings)
    folder = settings.model_dir or shipped_models()
    chosen = model or find_model(folder, settings.model, settings.model_version)
    largest = settings.max_batch_size
    network = FaceNetwork(chosen, settings.device, threads=1, pad_up_to=largest)
    if network.provider != CPU:
        network.warm_up(warm_sizes(largest))
    return network


def _open_remote(settings: Settings) -> Network:
    from atpn.engine.remote import RemoteNetwork  # noqa: PLC0415 - brings an HTTP client

    network = RemoteNetwork(
        settings.engine, settings.model, settings.model_version, settings.request_timeout_s
    )
    try:
        network.warm_up([1, settings.max_batch_size])
    except EngineUnavailable as error:
        network.close()
        raise ConfigurationError(f"engine {settings.engine}: {error.detail}") from error
    return network
