# Which format the value of a flake's output has, as the names in it tell; empty for none that is known.
value:
let
  isNode = node: builtins.isAttrs node && node ? profiles && node ? hostname;
  hasNodes = set: builtins.isAttrs set && builtins.any isNode (builtins.attrValues set);
in
if !builtins.isAttrs value then ""
else if value ? __schema || value ? meta || value ? defaults || value ? network.nixpkgs then "colmena"
else if value ? instances then "flake"
else if hasNodes value || hasNodes (value.nodes or null) then "deploy-rs"
else ""
