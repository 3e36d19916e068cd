"""A page on which people play with a trained model: `tfp-glow demo RUN`.

It needs the extra `demo`, which brings Gradio. `pictures` reads what people upload,
`studio` does what the page asks for, `page` lays it out, and `server` serves it.
"""
