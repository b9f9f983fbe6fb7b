# What an expression of ours instantiates ({"www": {"result": …, "derivation": …}, …}), as `nix-eval-jobs` takes it: a
# derivation for each. They are numbered, since it parses names: `1` would be a place in a list, and `a.b` two names.
names: found:
let
  job = name: {
    type = "derivation";
    inherit name;
    system = "any"; # it is told for each, and read by nobody
    outputName = "out";
    outPath = found.${name}.result;
    drvPath = found.${name}.derivation;
  };
  numbered = number: {
    name = "n${builtins.substring 1 6 (toString (1000000 + number))}";
    value = job (builtins.elemAt names number);
  };
in
builtins.listToAttrs (builtins.genList numbered (builtins.length names))
