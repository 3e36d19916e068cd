"""How Sphinx makes the reference out of the docstrings: `make reference`."""

import tfp_glow

project = "tfp_glow"
author = "The tfp_glow authors"
version = release = tfp_glow.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
default_role = "autolink"  # `Glow` in a docstring leads to it, `images` is just shown
napoleon_custom_sections = ["Shapes", ("Attributes", "params_style")]
# A `name` in a sentence need not have a page, nor need types of other libraries and
# those of ours that users do not make.
nitpicky = True
_INTERNAL = (
    "Coupling EdgeConv HasState ImageFlow MergedGlowLevel OnePass PreparedSteps "
    "Publishing ScaledLinear ShapedByPart SqueezedSteps StepGuard UserNetwork"
).split()
nitpick_ignore_regex = [
    ("py:obj", r"(?!tfp_glow\.).*"),
    ("py:class", r"(?!tfp_glow\.).*"),
    ("py:exc", r"tf\.errors\..*"),
    ("py:class", rf"tfp_glow\..*\.({'|'.join(_INTERNAL)})"),
]
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": True}
autoclass_content = "both"  # constructors' arguments too

html_theme = "furo"
html_title = f"tfp_glow {release}"
html_show_sourcelink = False
