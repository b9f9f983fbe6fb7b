// What we use of JupyterLab, and of Notebook, though they never promised it: here, and nowhere else. Other pages have
// less of it, or nothing. `[tool.nixhive_nb.unpromised.jupyterlab]` in pyproject.toml has the names; the tests in a real
// browser (tests/ui) fail where a newer one takes them away.

const lab = {
  // The notebook that a model of a widget belongs to, undefined where it has none that we could know of.
  notebookOf(model) {
    return model.widget_manager?.context;
  },

  // The kernel of a model's page: it can tell how it is, and be interrupted.
  kernelOf(model) {
    return model.widget_manager?.kernel;
  },

  // Each output of a notebook, as what gives its data by MIME type and takes other data in its place.
  *outputsOf(notebook) {
    for (const { outputs } of notebook.model?.cells ?? []) {
      for (let at = 0; at < (outputs?.length ?? 0); at += 1) {
        const { data } = outputs.get(at);
        const set = (other) => outputs.set(at, { output_type: "display_data", data: other, metadata: {} });
        yield { data, set };
      }
    }
  },
};

