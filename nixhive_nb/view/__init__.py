"""Values as text, HTML and SVG, for every face. It knows neither pandas nor IPython."""
