"""Heat maps are Grad-CAM by its formula, shares are the network's own, and pictures show both."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from captum.attr import LayerAttribution, LayerGradCam
from conftest import SAMPLES
from lively import IS_FULL, LAYERS, finetuned, save_pictures, to_input
from matplotlib import colormaps
from PIL import Image
from timm.layers.split_attn import SplitAttn

from resnest_cli import Options, list_models
from resnest_cli.engines.pytorch.inspection import TorchInspector
from resnest_cli.errors import ExitCode, UsageError
from resnest_cli.inputs.find import find_sources
from resnest_cli.models import catalog
from resnest_cli.models.catalog import DIGITS
from resnest_cli.models.labels import Labels
from resnest_cli.tasks.explain import pictures
from resnest_cli.tasks.explain.heatmap import Explainer, Explanation, Shares, class_index
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conftest import Resnest
    from numpy.typing import NDArray

    from resnest_cli.engines.inspection import Inspection

NINE, THREE = SAMPLES / "nine_0037.png", SAMPLES / "three_0045.png"
SEVEN, ZERO = SAMPLES / "seven_0081.png", SAMPLES / "zero_0078.png"
EDGE = 128  # four cells of the last stage a side
RADIX = {"resnest50d_1s4x24d": 1, "resnest50d_4s2x40d": 4}  # the others have 2


def explained(options: Options, inputs: Sequence[Path], target: str | None = None) -> list[Explanation]:
    with Explainer(options, target) as explainer:
        found = [*explainer.explain(find_sources(inputs))]
    assert all(isinstance(said, Explanation) for said in found)
    return [said for said in found if isinstance(said, Explanation)]


def grad_cam(network: Any, image: torch.Tensor, index: int) -> NDArray[np.float32]:  # noqa: ANN401 - timm's
    """Compute formulas 1 and 2 of the paper with captum, spread over the picture."""
    cells = LayerGradCam(network, network.layer4).attribute(image, target=index, relu_attributions=True)
    spread = LayerAttribution.interpolate(cells, image.shape[2:], "bilinear")
    return np.asarray(spread[0, 0].detach(), np.float32)


@pytest.mark.parametrize("name", [spec.name for spec in list_models()])
def test_heat_and_shares_of_every_variant_are_the_networks(name: str, tmp_path: Path) -> None:
    network: Any = finetuned(name, tmp_path / "model")
    (path,) = save_pictures(tmp_path / "pictures", 1)
    large = Image.open(path).resize((EDGE, EDGE), Image.Resampling.BICUBIC)
    large.save(path)
    options = Options(str(tmp_path / "model"), img_size=EDGE, crop_pct=1.0, device="cpu", workers=0)
    attended: list[NDArray[np.float32]] = []
    for module in network.modules():
        if isinstance(module, SplitAttn):
            module.rsoftmax.register_forward_hook(lambda _, __, out: attended.append(out.detach().flatten().numpy()))
    image = to_input([path])
    with torch.no_grad():
        probabilities = network(image).softmax(dim=1)[0].numpy()
    seen = attended.copy()
    rounding = 1e-5 if IS_FULL else 1e-6  # full networks: 1.1e-6 measured
    for index in (0, 3):
        (said,) = explained(options, [path], str(index))
        np.testing.assert_array_equal(said.pixels, np.asarray(large))
        assert said.probability == pytest.approx(probabilities[index], abs=rounding)
        expected = grad_cam(network, image, index)
        assert said.heat.dtype == np.float32
        assert said.cells == (EDGE // 32, EDGE // 32)
        if expected.any():
            assert np.corrcoef(said.heat.ravel(), expected.ravel())[0, 1] > 0.99
        np.testing.assert_allclose(said.heat, expected, rtol=0, atol=1e-5 * max(1, expected.max()))
    assert len(said.shares) == len(seen)
    assert len(seen) == sum(LAYERS) or IS_FULL
    for shares, values in zip(said.shares, seen, strict=True):
        np.testing.assert_allclose(shares.values.ravel(), values, rtol=0, atol=rounding)
    for shares in said.shares:
        assert shares.radix == RADIX.get(name, 2)
        if shares.radix > 1:
            np.testing.assert_allclose(shares.values.sum(axis=0), 1, rtol=0, atol=1e-6)
        else:
            assert ((shares.values > 0) & (shares.values < 1)).all()
            assert np.ptp(shares.values) > 0.01


def test_torch_sees_the_same_on_a_gpu_as_openvino_on_a_cpu() -> None:
    """On the CPU here: what differs on a GPU is the device only."""
    pixels = np.array(Image.open(NINE).convert("RGB").resize((64, 64)))
    options = Options("digits", img_size=64, device="cpu")
    seen = Explainer(options).inspector.inspect(pixels)
    theirs = TorchInspector(catalog.resolve(options), DIGITS / "model.safetensors", "cpu").inspect(pixels)
    np.testing.assert_allclose(seen.logits, theirs.logits, rtol=0, atol=1e-5)
    np.testing.assert_allclose(seen.evidence, theirs.evidence, rtol=0, atol=1e-4)
    assert list(seen.shares) == list(theirs.shares)
    for block, values in seen.shares.items():
        np.testing.assert_allclose(values, theirs.shares[block], rtol=0, atol=1e-5)


def test_a_head_on_another_pool_has_no_evidence_per_cell(tmp_path: Path) -> None:
    finetuned("resnest14d", tmp_path / "model", global_pool="max")
    with pytest.raises(UsageError, match=r"cannot be explained: its global_pool is max, not avg\.$"):
        Explainer(Options(str(tmp_path / "model"), device="cpu"))


# --- two digits


def pair(left: Path, right: Path, path: Path) -> Path:
    """Put two digits side by side, in the middle of 64 x 64 black pixels: each as large as the network knows them."""
    canvas = Image.new("L", (64, 64))
    canvas.paste(Image.open(left), (0, 16))
    canvas.paste(Image.open(right), (32, 16))
    canvas.save(path)
    return path


def mass_on_the_left(path: Path, name: str) -> float:
    (said,) = explained(Options("digits", img_size=64, device="cpu", workers=0), [path], name)
    return float(said.heat[:, :32].sum() / said.heat.sum())


def test_of_two_digits_each_class_has_its_heat_on_its_own(tmp_path: Path) -> None:
    path = pair(SEVEN, ZERO, tmp_path / "pair.png")
    assert mass_on_the_left(path, "seven") > 0.8
    assert mass_on_the_left(path, "zero") < 0.2
    path = pair(ZERO, SEVEN, tmp_path / "other.png")
    assert mass_on_the_left(path, "zero") > 0.8
    assert mass_on_the_left(path, "seven") < 0.2


def test_over_all_pairs_of_samples_the_heat_is_on_the_right_digit_far_more_often_than_not(tmp_path: Path) -> None:
    """The network knows one digit a picture, and has four cells here: so it is right in most pairs, not in all."""
    explainers = {name: Explainer(Options("digits", img_size=64, device="cpu", workers=0), name) for name in CLASSES}
    files = {path.stem.split("_")[0]: path for path in sorted(SAMPLES.glob("*.png"))}
    right = []
    for left, other in [(a, b) for a in files for b in files if a != b]:
        path = pair(files[left], files[other], tmp_path / "pair.png")
        for name in (left, other):
            (said,) = explainers[name].explain(find_sources([path]))
            assert isinstance(said, Explanation)
            half = said.heat[:, :32] if name == left else said.heat[:, 32:]
            right.append(bool(said.heat.any() and half.sum() > said.heat.sum() / 2))
    assert len(right) == 180
    assert np.mean(right) > 0.75


CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


# --- classes


def test_a_class_is_found_by_index_wordnet_id_or_name() -> None:
    known = Labels(("crane", "dog", "Crane", "tennis ball"), ("n1", "n2", "n3", "n4"), "here")
    assert [class_index(known, text) for text in ("1", "n3", "DOG", "tennis ball")] == [1, 2, 1, 3]
    with pytest.raises(UsageError, match=r"^target='crane' is the name of 2 classes: give one of 0, 2\.$"):
        class_index(known, "crane")
    with pytest.raises(UsageError, match=r"index \(0 to 3\)\. Did you mean 'tennis ball'\?$"):
        class_index(known, "tennis bal")
    with pytest.raises(UsageError, match=r"index \(0 to 3\)\.$"):
        class_index(known, "99")
    with pytest.raises(UsageError, match=r"^target='9{60}\.\.\.': no class"):
        class_index(known, "9" * 5000)


# --- pictures


def explanation(heat: NDArray[np.float32], label: str = "dog", radix: int = 2) -> Explanation:
    pixels = np.random.default_rng(0).integers(0, 256, (*heat.shape, 3), dtype=np.uint8)
    shares = np.linspace(0, 1, 8, dtype=np.float32)
    values = np.stack([shares, 1 - shares]) if radix == 2 else shares[None]
    return Explanation("a/dog.jpg", pixels, 1, "n2", label, 0.5, heat, (1, 1), (Shares("layer1.0", values),))


def test_the_left_panel_is_what_the_network_saw_and_the_right_is_brightest_where_the_heat_is() -> None:
    heat = np.zeros((40, 40), np.float32)
    heat[30, 10] = 3
    sheet = np.asarray(pictures.side_by_side(explanation(heat)))
    top = pictures.PAD + 2 * pictures.LINE + pictures.PAD // 2
    edge = 40 * 8
    left = sheet[top : top + edge, pictures.PAD : pictures.PAD + edge]
    np.testing.assert_array_equal(left[4::8, 4::8], explanation(heat).pixels)
    right = sheet[top : top + edge, 2 * pictures.PAD + edge : 2 * pictures.PAD + 2 * edge].astype(int)
    yellow = right[..., 0] - right[..., 2]  # cividis goes from blue to yellow
    row, column = np.unravel_index(yellow.argmax(), yellow.shape)
    assert abs(row - 30 * 8 - 4) <= 4
    assert abs(column - 10 * 8 - 4) <= 4


def test_colors_are_matplotlibs_cividis() -> None:
    values = np.concatenate([np.linspace(0, 1, 5000), np.arange(257) / 256]).astype(np.float32)[None]
    assert np.array_equal(pictures.cividis(values), colormaps["cividis"](values, bytes=True)[..., :3])


def test_strips_have_the_colors_of_their_shares() -> None:
    sheet = np.asarray(pictures.split_attention(explanation(np.ones((4, 4), np.float32))))
    row = sheet[pictures.PAD + 3 * pictures.LINE + pictures.ROW // 2]
    for split, shares in enumerate((np.linspace(0, 1, 8), np.linspace(1, 0, 8))):
        begin = pictures.NAME + split * (pictures.STRIP + pictures.MEAN + pictures.PAD)
        centers = begin + (np.arange(8) + 0.5) * pictures.STRIP / 8
        expected = colormaps["cividis"](shares.astype(np.float32), bytes=True)[:, :3]
        np.testing.assert_array_equal(row[centers.astype(int)], expected)


@pytest.mark.parametrize(
    "label", ["a class with a name that is far too long for any picture of so few pixels", "\x1b\n犬"]
)
def test_any_label_fits_its_picture(label: str) -> None:
    small = np.zeros((4, 4), np.float32)  # and no heat at all
    said = explanation(small, label, radix=1)
    assert pictures.side_by_side(said).width == 2 * 320 + 3 * pictures.PAD
    assert pictures.split_attention(said).width > pictures.STRIP


def test_a_heat_map_from_0_to_1_and_the_picture_colored_by_it() -> None:
    (said,) = explained(Options("digits", img_size=EDGE, device="cpu"), [THREE])
    assert said.heatmap.dtype == np.float32
    assert said.heatmap.shape == said.pixels.shape[:2]
    assert 0 <= said.heatmap.min() < said.heatmap.max() == 1
    np.testing.assert_allclose(said.heatmap * said.heat.max(), said.heat, rtol=1e-6)
    assert (said.overlay().mode, said.overlay().size) == ("RGB", said.heat.shape[::-1])
    nothing = explanation(np.zeros((4, 4), np.float32), "no", radix=1)
    assert not nothing.heatmap.any()


def test_an_image_that_the_network_has_no_number_for_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    explainer = Explainer(Options("digits", device="cpu"))
    inspect = explainer.inspector.inspect

    def overflow(pixels: NDArray[np.uint8]) -> Inspection:
        return inspect(pixels)._replace(logits=np.full(10, np.inf, np.float32))  # no image of ours overflows fp32

    monkeypatch.setattr(explainer.inspector, "inspect", overflow)
    (said,) = explainer.explain(find_sources([NINE]))
    message = "the model answers NaN or infinity in fp32: its weights may be damaged."
    assert said == Failure(str(NINE), "NotANumber", message)


# --- the command


def test_a_folder_has_everything_about_every_input(resnest: Resnest, tmp_path: Path) -> None:
    output = tmp_path / "out"
    ended = resnest("explain", NINE, "lost.png", THREE, "-m", "digits", "--raw", "-o", output, "-q")
    assert ended.exit_code == ExitCode.SOME_FAILED
    names = [line.split(" -> ")[-1] for line in ended.stdout.splitlines()]
    assert names == [str(output / "00001-nine_0037.png"), "lost.png: UnreadableInput: no such file.", names[2]]
    assert ended.stdout.startswith(f"{NINE}: nine ")
    first, second, third = (json.loads(line) for line in (output / "explain.jsonl").read_text().splitlines())
    assert (first["path"], first["status"], first["class"]["label"]) == (str(NINE), "ok", "nine")
    error = {"type": "UnreadableInput", "message": "no such file."}
    assert second == {"path": "lost.png", "status": "error", "error": error}
    assert third["picture"] == "00003-three_0045.png"
    heat = np.load(output / first["map"])
    (said,) = explained(Options("digits", device="cpu"), [NINE])
    np.testing.assert_array_equal(heat, said.heat)
    blocks = json.loads((output / first["attention"]).read_text())
    assert [block["block"] for block in blocks] == ["layer1.0", "layer2.0", "layer3.0", "layer4.0"]
    for block, shares in zip(blocks, said.shares, strict=True):
        np.testing.assert_array_equal(np.array(block["shares"], np.float32), shares.values)
        assert sum(block["mean"]) == pytest.approx(1)
        assert (block["radix"], block["function"]) == (2, "softmax over the splits")
    assert {path.name for path in output.iterdir()} == {
        "explain.jsonl",
        *(f"{record['picture'][:-4]}{end}" for record in (first, third) for end in FILES),
    }
    ended = resnest("explain", NINE, "-m", "digits", "-o", output)
    assert ended.stderr.endswith(f"error: {output / 'explain.jsonl'} exists; add --overwrite to replace it.\n")


@pytest.mark.parametrize("name", ["00001-x.png", "00012-dog.attention.json", "00002-a.npy", "explain.jsonl"])
def test_files_named_like_its_own_are_replaced_only_if_asked(resnest: Resnest, tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    (tmp_path / "00001.png").touch()
    ended = resnest("explain", NINE, "-m", "digits", "-o", tmp_path)
    assert ended.exit_code == 1
    assert ended.stderr.endswith(f"error: {tmp_path / name} exists; add --overwrite to replace it.\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "00001.png"])


FILES = (".png", ".attention.png", ".attention.json", ".npy")


def test_a_page_has_each_image_beside_its_heat_map(resnest: Resnest, tmp_path: Path) -> None:
    words = ("explain", SEVEN, "lost.png", ZERO, "-m", "digits", "--img-size", "160", "-q")
    page = tmp_path / "looked.html"
    ended = resnest(*words, "-o", page)
    resnest(*words, "-o", tmp_path / "looked")
    records = [json.loads(line) for line in (tmp_path / "looked" / "explain.jsonl").read_text().splitlines()]
    said = [
        f"{row['path']}: {row['class']['label']} {row['class']['probability']:.2%}" for row in records if "class" in row
    ]
    said.insert(1, "lost.png: UnreadableInput: no such file.")
    assert (ended.exit_code, ended.stdout.splitlines()) == (ExitCode.SOME_FAILED, said)
    blocks = dict(re.findall(r'<script type="application/json" id="(\w+)">(.*?)</script>', page.read_text(), re.DOTALL))
    seven, lost, zero = json.loads(blocks["rows"])
    assert json.loads(blocks["facts"]) == {"model": "digits", "engine": "openvino", "precision": "fp32"}
    assert [lost["error"]["type"], lost["predictions"], lost["link"]] == ["UnreadableInput", [], ""]
    for row, record, found in zip(
        (seven, zero), (records[0], records[2]), explained(Options("digits", img_size=160), [SEVEN, ZERO]), strict=True
    ):
        assert row["predictions"] == [{"rank": 1} | record["class"]]
        assert row["link"] == Path(row["path"]).as_uri()
        seen, heat = (
            Image.open(io.BytesIO(base64.b64decode(row[name].removeprefix("data:image/webp;base64,"))))
            for name in ("thumbnail", "heat")
        )
        for small, whole in ((seen, Image.fromarray(found.pixels)), (heat, found.overlay())):
            assert small.size == whole.size == (160, 160)
            assert np.abs(np.asarray(small.convert("RGB"), float) - np.asarray(whole, float)).mean() < 5  # of WEBP
    assert resnest(*words, "-o", page).stderr == f"error: {page} exists; add --overwrite to replace it.\n"
    ended = resnest(*words, "-o", tmp_path / "new.html", "--raw")
    assert (ended.exit_code, "--raw: a page has no .npy files" in ended.stderr) == (ExitCode.USAGE, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["looked", "looked.html"]


def test_that_random_weights_mean_nothing_is_said(resnest: Resnest, tmp_path: Path) -> None:
    for words, said in ((["-m", "digits", "--random-weights"], True), (["-m", "digits"], False)):
        done = resnest("explain", NINE, *words, "-o", tmp_path / str(said))
        assert done.exit_code == 0, done.output
        assert ("openvino fp32, random weights (the pictures mean nothing)\n" in done.stderr) is said
