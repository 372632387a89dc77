"""Recomputing activations changes memory, and nothing else."""

import copy

import pytest
import torch
from conftest import make_sample, make_tiny_cfg
from detectron2.modeling import build_model
from torch import nn

from cadformer_d2.benchmark.memory import measure_kept_for_backward
from cadformer_d2.modeling.activation_recomputation import COMPONENTS

BATCH_SIZE = 4


def build(*components, neck="CIM"):
    torch.manual_seed(0)
    cfg = make_tiny_cfg()
    cfg.MODEL.NECK.NAME = neck
    cfg.MODEL.PRESENCE.NAME = "PooledPresence"
    cfg.MODEL.CHECKPOINT_ACTIVATIONS = components
    return build_model(cfg).train()


def trained(model):
    """Gradients and buffers after one step whose dropout is seeded, and bytes kept for it."""
    torch.manual_seed(1)
    batch = [make_sample(seed=seed) for seed in range(BATCH_SIZE)]
    losses = {}
    kept = measure_kept_for_backward(model, lambda: losses.update(model(batch)))
    sum(losses.values()).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return gradients, dict(model.named_buffers()), kept


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_step_is_the_same_with_fewer_activations_kept(component):
    plain_gradients, plain_buffers, plain_kept = trained(build())
    gradients, buffers, kept = trained(build(component))
    assert gradients.keys() == plain_gradients.keys()
    for name, expected in plain_gradients.items():
        torch.testing.assert_close(gradients[name], expected, msg=name)
    for name, expected in plain_buffers.items():  # running statistics count a batch once
        torch.testing.assert_close(buffers[name], expected, msg=name)
    assert kept < plain_kept


def test_a_synchronised_norm_is_recomputed_without_counting_twice():
    synchronised = (nn.SyncBatchNorm.convert_sync_batchnorm(m) for m in (build(), build("decoder")))
    (_, plain_buffers, _), (_, buffers, _) = map(trained, synchronised)
    assert buffers.keys() == plain_buffers.keys()
    for name, expected in plain_buffers.items():
        torch.testing.assert_close(buffers[name], expected, msg=name)


def test_weights_load_with_and_without():
    build("backbone", "decoder").load_state_dict(build().state_dict())


def test_a_copy_recomputes_with_its_own_weights():
    model = build("decoder")
    gradients, _, _ = trained(copy.deepcopy(model))
    assert gradients["decoder.classifier.weight"] is not None
    assert model.decoder.classifier.weight.grad is None


def test_evaluation_is_untouched():
    samples = [make_sample(is_train=False)]
    with torch.no_grad():
        expected = build().eval()(samples)[0]["sem_seg"]
        torch.testing.assert_close(build(*COMPONENTS).eval()(samples)[0]["sem_seg"], expected)


def test_a_misspelt_component_lists_the_right_ones():
    with pytest.raises(ValueError, match="CHECKPOINT_ACTIVATIONS has 'swin'; known: text_encoder"):
        build("swin")


def test_a_component_that_the_model_lacks_is_named():
    with pytest.raises(ValueError, match="ACTIVATIONS has 'neck', but this model has no"):
        build("backbone", "neck", neck="")
