"""Carrying a plan out: the engine, its limits and gates, its journal, its report."""
