"""The result of a sweep: its best rows, fronts, slices, heatmaps and replays."""
