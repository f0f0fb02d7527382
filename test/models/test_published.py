"""Opening published weights: a file like theirs gives their numbers, anything else is named."""

import numpy as np
import pytest
import torch

from mixit_mss import machine
from mixit_mss.bin.import_official import main
from mixit_mss.errors import UserError
from mixit_mss.models.hub import load_model
from mixit_mss.models.hub.published import NAMES, import_official

HEADS = {"num_heads": 2, "num_groups": 2}


@pytest.fixture(scope="module")
def arrays(golden):
    return golden("official_network_tiny.npz")


@pytest.fixture
def entries(arrays):
    return {
        name.removeprefix("state_dict/"): torch.from_numpy(array.astype(np.float32))
        for name, array in arrays.items()
        if name.startswith("state_dict/")
    }


def save(path, entries, **around):
    windows = {"stft.window": torch.hann_window(2048), "model.stft.window": torch.zeros(3)}
    content = {**entries, **windows}
    torch.save({"state_dict": content, **around} if around else content, path)
    return path


@pytest.mark.parametrize("around", [{}, {"epoch": 3, "optimizer_states": []}])
def test_a_release_style_file_gives_the_published_numbers(tmp_path, arrays, entries, around):
    model = import_official(save(tmp_path / "model.pth", entries, **around), **HEADS)
    assert (model.num_sources, model.stems, model.training) == (3, None, False)
    with torch.no_grad():
        estimates = model(torch.from_numpy(arrays["mixture"].astype(np.float32)))
    expected = torch.from_numpy(arrays["estimates"])
    assert (estimates - expected).norm() < 1e-5 * expected.norm()


def test_wrong_entries_are_named(tmp_path, entries):
    name = "model.model.blocks.1.frame_path.attn.qkv.weight"
    less = {key: tensor for key, tensor in entries.items() if key != name}
    with pytest.raises(UserError, match=f"entry {name} is missing"):
        import_official(save(tmp_path / "less.pth", less), **HEADS)
    more = {**entries, "model.model.extra": torch.zeros(1)}
    with pytest.raises(UserError, match=r"entry model\.model\.extra has no place"):
        import_official(save(tmp_path / "more.pth", more), **HEADS)
    with pytest.raises(UserError, match=r"attn\.qkv\.weight has shape \(1, 2\)"):
        import_official(save(tmp_path / "bent.pth", {**entries, name: torch.zeros(1, 2)}), **HEADS)


def test_what_is_no_weights_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="neither a file nor a published name"):
        import_official(tmp_path / "nothing.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(UserError, match="not a file of weights"):
        import_official(tmp_path / "text.pth")
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"no entry begins with model\.model\."):
        import_official(tmp_path / "other.pth")


def test_code_in_a_file_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"model.model.x": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(UserError, match="not a file of weights"):
        import_official(tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


def test_the_command_writes_a_model_folder(tmp_path, entries, capsys):
    path = save(tmp_path / "model.pth", entries)
    main([str(path), "--out", str(tmp_path / "folder")])
    assert load_model(tmp_path / "folder").num_sources == 3
    assert "licence is their authors'" in capsys.readouterr().out
    main(["list"])
    assert capsys.readouterr().out.split() == list(NAMES)
    with pytest.raises(UserError, match="--out is missing"):
        main([str(path)])


def test_there_are_the_papers_networks():
    assert len(NAMES) == len(set(NAMES)) == 3 + 3 + 3 + 8 + 4
    assert "sup.musdb18hq.bslocoformer-medium.mixit-fma-large-pretrained" in NAMES
    assert "mixit.fma-full.bslocoformer-medium.12outputs" in NAMES


PREFIX = "model.model."
ENCODER = f"{PREFIX}band_split_module.band_split_module.0.1.weight"
BIAS = f"{PREFIX}band_split_module.bandwise_decoding_module.0.4.bias"


def bent(entries, name, change):
    return {**entries, name: change(entries[name])}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda entries: [1, 2], "no entry begins with"),
        (lambda entries: 3, "no entry begins with"),
        (lambda entries: None, "no entry begins with"),
        (lambda entries: torch.zeros(3), "no entry begins with"),
        (lambda entries: {"state_dict": [1]}, "no entry begins with"),
        (lambda entries: {"state_dict": None, "epoch": 1}, "no entry begins with"),
        (lambda entries: {1: 2, "a": 3}, "no entry begins with"),
        (lambda entries: {"epoch": 1, "global_step": 2}, "no entry begins with"),
        (lambda entries: {**entries, ENCODER: 3}, "is no tensor of floating-point numbers"),
        (lambda entries: bent(entries, ENCODER, lambda t: t.int()), "is no tensor of floating"),
        (lambda entries: bent(entries, ENCODER, lambda t: t.to_sparse()), "is no tensor of float"),
        (lambda entries: bent(entries, ENCODER, lambda t: t * float("nan")), "NaN or infinite"),
        (lambda entries: bent(entries, ENCODER, lambda t: torch.zeros(())), "axes are expected"),
        (lambda entries: bent(entries, BIAS, lambda t: torch.zeros(3, 3)), "axes are expected"),
        (lambda entries: bent(entries, BIAS, lambda t: torch.zeros(3)), "num_sources 0 must be"),
        (
            lambda entries: bent(entries, ENCODER, lambda t: torch.zeros(1).expand(4000, 8, 1)),
            "dim 4000 must be",
        ),
    ],
)
def test_other_checkpoints_are_one_sentence(tmp_path, entries, make, message):
    torch.save(make(entries), tmp_path / "x.ckpt")
    with pytest.raises(UserError, match=message) as caught:
        import_official(tmp_path / "x.ckpt", **HEADS)
    assert str(caught.value).count("\n") == 0


def test_damaged_files_and_folders(tmp_path, entries):
    whole = save(tmp_path / "whole.pth", entries).read_bytes()
    for content in (b"", whole[:100], whole[:-50], b"\x80\x02." * 10, whole[: len(whole) // 2]):
        (tmp_path / "part.pth").write_bytes(content)
        with pytest.raises(UserError, match="is not a file of weights"):
            import_official(tmp_path / "part.pth", **HEADS)
    with pytest.raises(UserError, match="neither a file nor"):
        import_official(tmp_path)


@pytest.mark.parametrize(("place", "words"), [("tensor", "not what was"), ("folder", "a folder")])
def test_no_flipped_bit_gives_other_weights(tmp_path, entries, place, words):
    path = save(tmp_path / "x.ckpt", entries)
    content = bytearray(path.read_bytes())
    at = len(content) // 2 if place == "tensor" else content.index(b"PK\1\2") + 38
    content[at] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"is damaged: .*{words}"):
        import_official(path)


def test_a_file_that_memory_does_not_hold_is_not_read(tmp_path, entries, monkeypatch):
    path = save(tmp_path / "model.pth", entries)
    monkeypatch.setattr(machine, "free_bytes", lambda: 1000)
    with pytest.raises(UserError, match=r"model\.pth' needs .* GiB of memory"):
        import_official(path, **HEADS)
