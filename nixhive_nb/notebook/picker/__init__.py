"""Choosing targets: what a picker holds, as a table and as a widget in its place."""

from nixhive_nb.notebook.picker.model import Picker, Widgets, picker_for, settle_taken
from nixhive_nb.notebook.picker.rows import PickerRow, compact

__all__ = ["Picker", "PickerRow", "Widgets", "compact", "picker_for", "settle_taken"]
