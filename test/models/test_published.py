"""Opening published weights: a file like theirs gives their numbers, anything else is named."""

import numpy as np
import pytest
import torch

from mixit_mss.bin.import_official import main
from mixit_mss.errors import UserError
from mixit_mss.models.hub import load_model
from mixit_mss.models.published import NAMES, import_official

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
