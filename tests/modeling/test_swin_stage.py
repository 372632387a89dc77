import torch

from cadformer_d2.modeling.backbone.swin_stage import FusedWindowAttention, SwinStage


def test_a_kept_bias_is_made_anew_for_another_table_mask_or_format(monkeypatch):
    monkeypatch.setattr(FusedWindowAttention, "caches_bias", lambda self: True)
    attention = SwinStage(dim=8, depth=1, num_heads=2, window_size=4).blocks[0].attn
    mask = torch.rand(3, 16, 16)
    with torch.no_grad():
        first = attention.get_cached_bias(mask, torch.float32)
        assert attention.get_cached_bias(mask, torch.float32) is first
        for other, dtype in ((mask, torch.bfloat16), (mask.clone(), torch.bfloat16)):
            last, kept = first, attention.get_cached_bias(other, dtype)
            assert kept is not last and kept.dtype == dtype
        assert attention.get_cached_bias(None, torch.float32).shape == (1, 2, 16, 16)
        x = torch.rand(6, 16, 8)
        before = attention(x, mask)
        attention.relative_position_bias_table += torch.randn(49, 2)  # as an optimizer does
        after = attention(x, mask)
        assert (after - before).abs().max() > 1e-6
        monkeypatch.undo()
        torch.testing.assert_close(after, attention(x, mask), rtol=0, atol=0)
