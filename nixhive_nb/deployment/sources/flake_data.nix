# What `inventory.nix` gives of the data of a flake, an output such as `nixhive`. Its systems are the configurations of
# the flake, of which nothing but the names is looked at.
{ names, output, configurations, inventory }:
data:
let
  own = data.systems or { };
  strangers = builtins.attrNames (builtins.removeAttrs own names);
  stranger = builtins.head strangers;

  of = name:
    builtins.removeAttrs (own.${name} or { }) [ "configuration" "evalConfigArgs" ] // { configuration = { }; };
  instance = name: value: if builtins.isAttrs value then { system = name; } // value else value;

  source = data // {
    systems = builtins.listToAttrs (map (name: { inherit name; value = of name; }) names);
    instances = builtins.mapAttrs instance (data.instances or { });
  };
in
if strangers != [ ] then
  throw "`systems.${stranger}` in the output ${output} has no configuration: there is no ${configurations}.${stranger}"
else
  inventory { places = true; inherit source; }
