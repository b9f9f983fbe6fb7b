# What `inventory.nix` gives of the data of a flake, an output such as `nixhive`. Its systems are the configurations of
# the flake, of which nothing but the names is looked at.
{ names, output, configurations, inventory }:
data:
let
  own = data.systems or { };
  strangers = if builtins.isAttrs own then builtins.attrNames (builtins.removeAttrs own names) else [ ];
  stranger = builtins.head strangers;

  # What is no set is told by `inventory`, as in `hive.nix`.
  of = name:
    let said = own.${name} or { };
    in
    if builtins.isAttrs said then builtins.removeAttrs said [ "configuration" "evalConfigArgs" ] // { configuration = { }; }
    else said;
  instance = name: value: if builtins.isAttrs value then { system = name; } // value else value;

  source = data // {
    systems =
      if builtins.isAttrs own then builtins.listToAttrs (map (name: { inherit name; value = of name; }) names) else own;
    instances = if builtins.isAttrs data.instances then builtins.mapAttrs instance data.instances else data.instances;
  };
in
if strangers != [ ] then
  throw "`systems.${stranger}` in the output ${output} has no configuration: there is no ${configurations}.${stranger}"
else
  inventory { places = true; inherit source; }
