"""How a model leaves and comes back: SavedModel, weights, checkpoints of others."""

import json
import re
import zipfile
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import keras

from tfp_glow._checks import check_choice
from tfp_glow._download import check_sha256, download, is_url
from tfp_glow._extras import require
from tfp_glow.export import export_saved_model
from tfp_glow.model_card import model_card
from tfp_glow.weights_file import assign_weights, read_weights, write_weights

if TYPE_CHECKING:
    from tfp_glow.glow_model import GlowModel

__all__ = ["CARD", "CONFIG", "WEIGHTS", "Publishing", "load_keras_file"]

CARD = "MODEL_CARD.md"
CONFIG = "config.json"
WEIGHTS = "model.safetensors"

_KERAS_FILE = "model.keras"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


class Publishing:
    """The part of `GlowModel` that writes it for others and reads what others wrote."""

    def save(self, filepath: str | Path, *args: Any, **kwargs: Any) -> None:
        """Writes a `.keras` file: `keras.Model.save`.

        Raises:
            ValueError: If the file is to be one of HDF5, Keras's old format.
        """
        if str(filepath).endswith((".h5", ".hdf5")):
            raise ValueError(
                "The file's name must end in .keras; `save_weights` writes weights "
                f"alone into one that ends in .weights.h5. Received: {str(filepath)!r}."
            )
        super().save(filepath, *args, **kwargs)

    def export(
        self,
        filepath: str | Path,
        format: str = "tf_saved_model",
        *,
        precision: str | None = None,
        merge: bool = False,
        **kwargs: Any,
    ) -> None:
        """Writes a SavedModel that plain TensorFlow loads and serves.

        Args:
            filepath: Folder to write into.
            format: `"tf_saved_model"`.
            precision: `"float32"` or `"bfloat16"`, of the coupling networks; the
                model's when not given.
            merge: Whether to store what depends on the parameters alone, see
                `Glow.merged`, instead of computing it for every request.
            **kwargs: What `keras.Model.export` takes besides; not used.

        Raises:
            ValueError: If another format or precision is asked for.
        """
        check_choice("format", format, ["tf_saved_model"])
        export_saved_model(self, filepath, precision=precision, merge=merge)
        if kwargs.get("verbose"):
            print(f"Saved artifact at '{filepath}'.")

    def save_pretrained(
        self, directory: str | Path, *, dtype: str | None = None
    ) -> None:
        """Writes `model.safetensors` and `config.json`, for `from_pretrained`.

        The first holds the weights by stable names and, as metadata, the model's
        arguments; the second these arguments once more, to be read by people.

        Args:
            directory: Folder to write into.
            dtype: `"float16"` rounds the weights of coupling networks to that, nearly
                all there are in a wide model, and so nearly halves the file; the model
                that is loaded computes as this one does. The model's own when not
                given.

        Raises:
            FileExistsError: If it holds such a file already.
            ValueError: If `dtype` is another, or a weight is too large for it.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        for name in (CONFIG, WEIGHTS):
            if (directory / name).exists():
                raise FileExistsError(
                    f"{directory / name} is there already, and may belong to a run. "
                    "Name another folder."
                )
        write_weights(self, directory / WEIGHTS, dtype)
        config = json.dumps(self.get_config(), indent=2) + "\n"
        (directory / CONFIG).write_text(config, encoding="utf-8")

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        sha256: str | None = None,
        revision: str | None = None,
    ) -> "GlowModel":
        """Loads a published model.

        No file is executed or unpickled. What was downloaded from a URL is not kept;
        what comes from Hugging Face is in its cache.

        Args:
            source: A folder that `save_pretrained`, `tfp-glow export` or `tfp-glow
                train` wrote; or the URL of an archive of one (.zip, .tar, .tar.gz), of
                a folder that holds `model.safetensors`, or of that file itself; or a
                Hugging Face id, `"name/model"`.
            sha256: Checksum of the file: a URL needs one, here or as `#sha256=...`;
                of a folder it is that of its weights.
            revision: Commit, branch or tag, of a Hugging Face id.

        Returns:
            The model.

        Raises:
            FileNotFoundError: If there is nothing of that name.
            ImportError: If it is a Hugging Face id and `huggingface_hub` is missing.
            OSError: If it cannot be downloaded.
            ValueError: If a checksum is missing or another, or a file is damaged or of
                another model.

        Example:
            >>> import tempfile
            >>> small = {"num_levels": 1, "num_steps": 1, "hidden_channels": 4}
            >>> model = GlowModel((4, 4, 1), seed=0, **small)
            >>> folder = tempfile.mkdtemp()
            >>> model.save_pretrained(folder)
            >>> images = tf.zeros([1, 4, 4, 1], tf.uint8)
            >>> again = GlowModel.from_pretrained(folder)
            >>> bool(tf.reduce_all(again.encode(images) == model.encode(images)))
            True
        """
        source = str(source)
        with ExitStack() as stack:
            if is_url(source):
                folder = Path(stack.enter_context(TemporaryDirectory()))
                file = download(source, sha256, folder, [WEIGHTS, _KERAS_FILE])
                return _load(cls, file)
            if Path(source).exists():
                file = _find(Path(source))
            else:
                file = _from_hub(source, revision)
            if sha256 is not None:
                check_sha256(file, sha256, source)
            return _load(cls, file)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        folder: str | Path | None = None,
        private: bool = False,
        token: str | None = None,
    ) -> str:
        """Publishes the model on Hugging Face, for `from_pretrained(repo_id)`.

        Args:
            repo_id: `"name/model"`; it is made if it does not exist.
            folder: What to publish besides weights and arguments, such as the version
                that `tfp-glow export` wrote; its `MODEL_CARD.md` becomes the page.
            private: Whether a new one is visible to its owner alone.
            token: Of the Hugging Face account; the one that is logged in when not
                given.

        Returns:
            The address of its page.

        Raises:
            ImportError: If `huggingface_hub` is missing.
        """
        hub = require("huggingface_hub", "`push_to_hub`", extra="hub")
        api = hub.HfApi(token=token)
        url = api.create_repo(repo_id, private=private, exist_ok=True)
        if folder is not None:
            api.upload_folder(repo_id=repo_id, folder_path=str(folder))
        card = None if folder is None else Path(folder) / CARD
        with TemporaryDirectory() as temporary:
            self.save_pretrained(temporary)
            if card is not None and card.exists():
                text = card.read_text(encoding="utf-8")
            else:
                text = model_card(self, repo_id.split("/")[-1])
            (Path(temporary) / "README.md").write_text(text, encoding="utf-8")
            api.upload_folder(
                repo_id=repo_id,
                folder_path=temporary,
                commit_message="Weights, arguments and model card",
            )
        return str(url)


def load_keras_file(file: Path) -> "GlowModel":
    """Loads a `.keras` file.

    Raises:
        ValueError: If it is damaged or something else.
    """
    # The table of contents of a zip file is at its end.
    if not zipfile.is_zipfile(file):
        raise ValueError(f"{file} is no Keras file, or was cut short.")
    try:
        return keras.models.load_model(file)
    except Exception as error:  # Keras and h5py have many kinds.
        raise ValueError(f"{file} cannot be loaded: {error}") from error


def _find(path: Path) -> Path:
    """The file of weights that a path means."""
    if path.is_file():
        return path
    for name in (WEIGHTS, _KERAS_FILE):
        if (path / name).is_file():
            return path / name
    versions = [child for child in path.iterdir() if child.name.isdecimal()]
    if versions:
        return _find(max(versions, key=lambda child: int(child.name)))
    raise FileNotFoundError(
        f"{path} is no published model: it has neither {WEIGHTS}, which "
        f"`save_pretrained` and `tfp-glow export` write, nor {_KERAS_FILE}, which "
        "`tfp-glow train` writes."
    )


def _from_hub(source: str, revision: str | None) -> Path:
    """Downloads the weights of a Hugging Face id into that library's cache."""
    if not _HUB_ID.fullmatch(source):
        raise FileNotFoundError(
            f"There is no {source}. Name a folder, a URL, or a Hugging Face id such as "
            "name/model."
        )
    purpose = f"There is no folder {source}, and a Hugging Face id"
    hub = require("huggingface_hub", purpose, extra="hub")
    try:
        return Path(hub.hf_hub_download(source, WEIGHTS, revision=revision))
    except (OSError, ValueError) as error:
        raise OSError(
            f"There is no folder {source}, and Hugging Face gives no {WEIGHTS} of that "
            f"name: {error}"
        ) from error


def _load(cls: type["GlowModel"], file: Path) -> "GlowModel":
    """The model of a file of weights."""
    if file.suffix == ".keras":
        model = load_keras_file(file)
        if not isinstance(model, cls):
            raise ValueError(
                f"{file} must hold a {cls.__name__}. Received: a "
                f"{type(model).__name__}."
            )
        return model
    config, tensors = read_weights(file)
    beside = file.with_name(CONFIG)
    if beside.exists() and json.loads(beside.read_text(encoding="utf-8")) != config:
        raise ValueError(
            f"{beside} is of another model than {file.name}, which says what it is of "
            "itself. Take both from one place, or remove the first."
        )
    try:
        model = cls.from_config(config)
        assign_weights(model, tensors)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file} cannot be loaded. {error}") from error
    return model
