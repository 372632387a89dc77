"""The model's equations, written out plainly in float64.

From the papers' text, not from the product's code: what is fast, fused or shared there is a sum
over cells or positions here. A component that is registered without an equation fails by name
(``test_component_values.py``); where components meet is in ``model.py``.
"""
