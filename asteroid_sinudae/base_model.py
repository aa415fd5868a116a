"""Models whose files hold tensors and plain values only; a file that does not fit is named."""

from asteroid.models import BaseModel

from ._precision import ChecksConversion
from .files import load_safely


class SafeModel(ChecksConversion, BaseModel):
    """Asteroid's :class:`BaseModel` with model files that cannot run code.

    A subclass keeps the arguments that re-instantiate it, all of them, in `_model_args`.
    """

    def get_model_args(self):
        """Arguments needed to re-instantiate the model."""
        return dict(self._model_args)

    def serialize(self):
        """Serialize model and output dictionary.

        Returns:
            dict, with keys `model_name`, `model_args`, `state_dict` and `infos`, of tensors and
            plain values only: what :func:`torch.save` writes, ``weights_only`` loads.
        """
        package = super().serialize()
        versions = package["infos"]["software_versions"]
        # torch.__version__ is an object that a safe load refuses.
        package["infos"]["software_versions"] = {k: str(v) for k, v in versions.items()}
        return package

    @classmethod
    def from_pretrained(cls, pretrained):
        """Instantiate from what :meth:`serialize` returned.

        Args:
            pretrained (dict, str or Path): the dictionary, or a file of it by :func:`torch.save`.

        Returns:
            An instance of the class.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file is refused (see :func:`.load_safely`), or the package is of
                another model or incomplete, or its weights do not fit its arguments.
        """
        if isinstance(pretrained, dict):
            source, package = "the package", pretrained
        else:
            source, package = str(pretrained), load_safely(pretrained)
        missing = {"model_name", "model_args", "state_dict"} - package.keys()
        if missing:
            raise ValueError(
                f"{source} is no serialized model: {', '.join(sorted(missing))} missing, "
                f"found {', '.join(sorted(map(str, package)))}"
            )
        if package["model_name"] != cls.__name__:
            raise ValueError(
                f"{source} holds a model {package['model_name']!r}, expected {cls.__name__!r}"
            )
        try:
            model = cls(**package["model_args"])
            model.load_state_dict(package["state_dict"])
        except (TypeError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise ValueError(f"{source} does not fit {cls.__name__}: {reason}") from error
        return model
