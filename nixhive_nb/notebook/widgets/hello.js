// A model without a view: a page that can make it can show the others as well, and says so.
export default {
  initialize({ model }) {
    model.send({ hello: true });
  },
};
