#!/usr/bin/env python3
"""Make pretok.json: how each pre-tokenizer splits hard strings.

A pre-tokenizer is a list of patterns; each is applied to every piece that the one before left, and
text between two matches is a piece too. The patterns are those of the models' own tokenizer.json
files, as llama.cpp names them. Where Hugging Face `tokenizers` can express the same list, its
answer is compared with the one from the `regex` package.
"""
import argparse
import json
import pathlib

import regex
from tokenizers import Regex, pre_tokenizers

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
PATTERNS = {
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"],
    "gpt-2": [GPT2],
    "llama-bpe": [LLAMA3],
    "qwen2": [QWEN2],
    "smollm": [r"\p{N}", GPT2],
}
TEXTS = [
    "Hello world",
    "Hello, world! How are you?",
    " leading space and trailing space ",
    "it's we'll I'm you've they're he'd can't",
    "IT'S WE'LL I'M YOU'VE THEY'RE HE'D CAN'T",
    "It'S we'Ll 'tis 'Twas rock'n'roll o'clock",
    "'s't're've'm'll'd",
    "don\u2019t \u201cquote\u201d me \u2014 please\u2026",
    "1 12 123 1234 12345 123456 1234567",
    "3.14159 and 1,000,000 or 2024-05-17T12:30:45Z",
    "x1y22z333 4a 5b\tv2.0.1",
    "\u00bd cup, x\u00b2 + y\u00b3 = \u2163, \u0661\u0662\u0663\u0664 \u0967\u0968\u0969",
    "a  b   c    d",
    "tabs\tand\t\ttabs\t\t\tend\t",
    "line one\nline two\n\nline four\n\n\nline seven\n",
    "windows\r\nline\r\n\r\nends\r\n",
    "  indented\n    more indented\n\tby tab\n",
    "trailing spaces   \n   \n  leading",
    "   ",
    "\n",
    "\n\n \n\n",
    " ",
    "a",
    "no\u00a0break\u2003em\u3000ideographic  space",
    "caf\u00e9 na\u00efve \u00fcber Stra\u00dfe \u0141\u00f3d\u017a",
    "cafe\u0301 decomposed n\u0303",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \ud55c\uad6d\uc5b4",
    "\u4f60\u597d\uff0c\u4e16\u754c\uff01\u6211\u67093\u4e2a\u82f9\u679c\u3002",
    "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8\u3001\u30ab\u30bf\u30ab\u30ca",
    "\U0001f600 smile \U0001f468\u200d\U0001f469\u200d\U0001f467 family \u2764\ufe0f\U0001f44d\U0001f3fd!!",
    "flags \U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7 \U00020000\U0001d54f math",
    "foo_bar(baz[0], *args); // comment\n\tif (x != y && !z) { return -1; }\n",
    "<html><body class=\"a b\">$5 + 6^2 ~ |x| `code` #tag @me 100%</body></html>",
    "### User:\nHow many?\n### Assistant:\n",
    "https://example.org/path?q=a+b&c=%20#frag mail@example.org",
    "!!!??? ... --- ===\n\n***",
    "word\u200bzero\ufeffwidth\u00adsoft",
    "CamelCaseWord snake_case UPPER lower \u01c5 \u00aa\u00ba \u02b0",
    "a\n b\n\n  c \n",
    "\u20ac100 \u00a35 \u00a510 \u2211 \u2192 \u221e \u00b0C",
]


def split(text, patterns):
    pieces = [text]
    for p in patterns:
        out = []
        for piece in pieces:
            at = 0
            for m in regex.finditer(p, piece):
                if m.start() > at:
                    out.append(piece[at : m.start()])
                if m.end() > m.start():
                    out.append(m.group())
                at = m.end()
            if at < len(piece):
                out.append(piece[at:])
        pieces = out
    return pieces


def split_hf(text, pre):
    """The same by Hugging Face tokenizers."""
    p = pre_tokenizers
    steps = {
        "gpt-2": [p.Split(Regex(GPT2), "isolated")],
        "llama-bpe": [p.Split(Regex(LLAMA3), "isolated")],
        "qwen2": [p.Split(Regex(QWEN2), "isolated")],
        "smollm": [p.Digits(individual_digits=True), p.Split(Regex(GPT2), "isolated")],
        "default": [p.Split(Regex(x), "isolated") for x in PATTERNS["default"]],
    }[pre]
    return [piece for piece, _ in p.Sequence(steps).pre_tokenize_str(text)]


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--out", default=str(pathlib.Path(__file__).parent / "fixtures/pretok.json"))
    args = ap.parse_args()
    rows, differ = [], 0
    for pre, patterns in PATTERNS.items():
        for text in TEXTS:
            pieces = split(text, patterns)
            assert "".join(pieces) == text
            other = split_hf(text, pre)
            if other != pieces:
                differ += 1
                print("left out, the two packages differ:", pre, repr(text), pieces, other)
                continue
            rows.append(json.dumps({"pre": pre, "text": text, "pieces": pieces}, ensure_ascii=True))
    pathlib.Path(args.out).write_text("[\n" + ",\n".join(rows) + "\n]\n")
    print(f"{len(rows)} cases, {differ} left out")


if __name__ == "__main__":
    main()
