"""Proves: `hsd export` writes what its description says, for any range of layers; it refuses wrong
          options, files that cannot be written and matrices that f16 cannot hold with a sentence,
          and then leaves the files of an earlier export as they were.
   Does not prove: that the networks compute the right numbers (tests/openvino).
"""
import os
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree

from cli_case import DRAFT, ROOT, TARGET, CliCase

FIXTURE = os.path.join(ROOT, "tests", "reference", "fixtures", "llama-gqa.gguf")
FILES = ["model.bin", "model.json", "model.xml"]


class Export(CliCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="hsd-")
        self.addCleanup(folder.cleanup)
        self.folder = os.path.join(folder.name, "network")

    def read(self, name):
        with open(os.path.join(self.folder, name), "rb") as file:
            return file.read()

    def test_without_options_the_shipped_draft_is_written(self):
        self.assertIn("layers 0 to 3 of 3, 8 rows, 512 cells", self.ok("export", "--out", self.folder))
        self.assertEqual(sorted(os.listdir(self.folder)), FILES)
        root = ElementTree.fromstring(self.read("model.xml"))
        self.assertEqual((root.tag, root.get("version")), ("net", "11"))

    def test_the_xml_has_the_inputs_and_outputs_of_the_description(self):
        about = self.json("export", "--draft", DRAFT, "--rows", 5, "--context", 40, "--out",
                          self.folder)
        self.assertEqual(self.read("model.json").decode(), self.ok(
            "export", "--rows", 5, "--context", 40, "--json", "--out", self.folder))
        layers = list(ElementTree.fromstring(self.read("model.xml")).iter("layer"))
        inputs = [{"name": l.get("name"), "type": l.find("data").get("element_type"),
                   "shape": [int(n) for n in l.find("data").get("shape").split(",")]}
                  for l in layers if l.get("type") == "Parameter"]
        outputs = [{"name": l.get("name"), "type": "f32",
                    "shape": [int(d.text) for d in l.iter("dim")]}
                   for l in layers if l.get("type") == "Result"]
        self.assertEqual((inputs, outputs), (about["inputs"], about["outputs"]))
        self.assertIn({"name": "bias", "type": "f32", "shape": [5, 45]}, inputs)
        self.assertIn({"name": "out", "type": "f32", "shape": [5, 4096]}, outputs)

    def test_constants_lie_within_the_file_of_weights(self):
        sizes = {}
        for kind in ["i8", "f16", "f32"]:
            self.ok("export", "--type", kind, "--out", self.folder)
            sizes[kind] = os.path.getsize(os.path.join(self.folder, "model.bin"))
            end = 0
            for layer in ElementTree.fromstring(self.read("model.xml")).iter("layer"):
                if layer.get("type") == "Const":
                    data = layer.find("data")
                    self.assertGreaterEqual(int(data.get("offset")), end)
                    end = int(data.get("offset")) + int(data.get("size"))
            self.assertEqual(end, sizes[kind])
        self.assertGreater(sizes["f32"], 1.7 * sizes["f16"])
        self.assertGreater(sizes["f16"], 1.4 * sizes["i8"])

    def test_a_range_of_layers_starts_and_ends_with_hidden_rows(self):
        width, ends = 96, {"0-1": ("tokens", "hidden"), "1-2": ("hidden", "hidden"),
                           "1-3": ("hidden", "logits"), "0-3": ("tokens", "logits")}
        for layers, (begin, end) in ends.items():
            about = self.json("export", "--layers", layers, "--out", self.folder)
            self.assertEqual((about["from"], about["to"]), (begin, end))
            names = [p["name"] for p in about["inputs"]]
            self.assertEqual(("tokens" in names, "in" in names), (begin == "tokens", begin == "hidden"))
            out = [p for p in about["outputs"] if p["name"] == "out"]
            self.assertEqual(out[0]["shape"][1], 4096 if end == "logits" else width)

    def test_wrong_options_are_usage_errors(self):
        for args, said in [(["--rows", "0"], "--rows: 0 is not in 1..1024"),
                           (["--layers", "2"], "is not of the form A-B"),
                           (["--layers", "2-2"], "has no layer"),
                           (["--layers", "a-2"], "'a' is not a whole number"),
                           (["--type", "i4"], "'i4' is none of f16, f32, i8"),
                           (["--draft", DRAFT, "--target", TARGET], "one model"),
                           (["--context", "12x"], "--context"), (["file"], "is not an option")]:
            self.assertIn(said, self.usage_error("export", "--out", self.folder, *args))
        self.assertIn("--out DIR is missing", self.usage_error("export"))
        self.assertFalse(os.path.exists(self.folder))

    def test_what_the_model_has_not_is_refused(self):
        for args, said in [(["--layers", "1-9"], "layers: 1 to 9, the model has 0 to 3 (EINVAL)"),
                           (["--context", "513"], "context: 513 is not in 1..512 (EINVAL)"),
                           (["--draft", "nowhere.gguf"], "nowhere.gguf")]:
            self.assertIn(said, self.failure("export", "--out", self.folder, *args))

    def test_a_full_disk_is_reported_and_leaves_the_earlier_network(self):
        self.ok("export", "--out", self.folder)
        before = [self.read(name) for name in FILES]
        for name in ["model.bin.part", "model.xml.part"]:
            os.symlink("/dev/full", os.path.join(self.folder, name))
            said = self.failure("export", "--rows", 3, "--out", self.folder)
            self.assertIn(name + ": writing: No space left on device (EIO)", said)
            self.assertEqual([self.read(name) for name in FILES], before)
            self.assertEqual(sorted(os.listdir(self.folder)), FILES)

    def test_a_folder_that_cannot_be_made_is_reported(self):
        self.assertIn("Not a directory (EIO)", self.failure("export", "--out", DRAFT + "/network"))
        self.assertIn("EIO", self.failure("export", "--out", DRAFT))

    def test_a_weight_beyond_f16_is_refused_in_f16_only(self):
        os.mkdir(self.folder)
        large = os.path.join(self.folder, "large.gguf")
        with open(FIXTURE, "rb") as source, open(large, "wb") as file:
            data = bytearray(source.read())
            middle = len(data) // 8 * 4  # within a matrix, of which the file has hardly else
            data[middle:middle + 4] = b"\x00\x24\x74\x49"  # 1e6
            file.write(data)
        self.assertIn("beyond f16", self.failure("export", "--draft", large, "--out", self.folder))
        self.ok("export", "--draft", large, "--type", "f32", "--out", self.folder)


if __name__ == "__main__":
    unittest.main()
