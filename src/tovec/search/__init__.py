"""`tovec similarity`: vectors compared, ranked, and seen as neighbours, outliers and clusters."""
