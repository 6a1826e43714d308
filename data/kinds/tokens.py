"""Text cut by a pretrained model's own tokenizer: `kinds: {column: {kind: tokens, source: FOLDER}}`.

`source` is a folder as Hugging Face's libraries write it, or a name on its hub. Its tokenizer.json and config.json
become state, so whoever has the model can read text with it and needs the folder no longer. Encoded (L,): 0 is padding,
else one more than the tokenizer's number.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError
from evergreen.data.arrow import RowErrors, decode_array
from evergreen.data.field import TensorField
from evergreen.data.kinds import _pretrained as pretrained
from evergreen.data.kinds._written import Written, texts_of

LONGEST = 256  # tokens of a row, unless `length` says otherwise
FIX = "give `source`, a folder with config.json and tokenizer.json, or a name on Hugging Face's hub"


class Tokens(Written):
    OPTIONS: ClassVar[dict[str, Any]] = {"source": "", "length": 0}  # 0: the longest of the training rows, at most 256

    def validate(self, column: pa.Array) -> tuple[pa.Array, RowErrors]:
        column = decode_array(column)
        if pa.types.is_string(column.type):
            return column, {}
        return pa.nulls(len(column), pa.string()), dict.fromkeys(range(len(column)), "no text")

    def fit(self, columns: Mapping[str, pa.Array], *, target: bool = False, **options: Any) -> TensorField:
        ((name, column),) = columns.items()
        source, length = str(options.get("source", "")), int(options.get("length", 0))
        place = f"preprocess.kinds.{name}"
        if not source:
            raise DataError("`source` is missing", place=place, fix=FIX)
        if target:
            raise DataError("a target cannot use a pretrained model's source", place=place, fix="use the kind text")
        tokenizer = pretrained.read_file(source, "tokenizer.json", place, FIX)
        config = pretrained.read_json_file(source, "config.json", place, FIX)
        made = _tokenizer(tokenizer, 0)
        longest = max((len(one.ids) for one in made.encode_batch(column.drop_null().to_pylist())), default=1)
        state: dict[str, Any] = {
            "source": source,
            "sizes": [made.get_vocab_size() + 1],
            "length": length or min(LONGEST, longest),
            "config": config,
            "tokenizer": tokenizer,
        }
        return TensorField("tokens", (name,), (state["length"],), "int64", state)

    def encode(self, field: TensorField, columns: Sequence[pa.Array]) -> np.ndarray:
        (length,) = field.shape
        texts = texts_of(columns[0])
        values = np.zeros((len(texts), length), np.int64)
        for row, encoding in enumerate(_tokenizer(field.state["tokenizer"], length).encode_batch(texts)):
            values[row, : len(encoding.ids)] = np.asarray(encoding.ids) + 1
        return values

    def decode(self, field: TensorField, values: np.ndarray) -> list[Any]:
        rows = [[code - 1 for code in row if code] for row in np.asarray(values).tolist()]
        texts: list[str] = _tokenizer(field.state["tokenizer"], field.shape[0]).decode_batch(rows)
        return texts

    def json_schema(self, field: TensorField, index: int) -> dict[str, Any]:
        about = f"the first {field.shape[0]} tokens are read"
        return {"type": "string", "minLength": 1, "nullable": True, "description": about, "example": "a text"}


@lru_cache(maxsize=8)
def _tokenizer(text: str, length: int) -> Any:
    """Return the tokenizer that cuts to `length` tokens with its marks of begin and end; 0 does not cut."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        fix = "pip install 'evergreen[pretrained]'"
        raise DataError("the library tokenizers is not installed", place="kind tokens", fix=fix) from error
    made = Tokenizer.from_str(text)
    made.no_padding()
    if length:
        made.enable_truncation(length)
    else:
        made.no_truncation()
    return made
