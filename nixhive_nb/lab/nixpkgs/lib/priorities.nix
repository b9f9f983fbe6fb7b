# What a module can say about a definition: under which condition it holds, how strong it is, where it stands.
lib: rec {
  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };
  mkMerge = contents: {
    _type = "merge";
    inherit contents;
  };
  mkOverride = priority: content: {
    _type = "override";
    inherit priority content;
  };
  mkOrder = priority: content: {
    _type = "order";
    inherit priority content;
  };
  mkForce = mkOverride 50;
  mkVMOverride = mkOverride 10;
  mkDefault = mkOverride 1000;
  mkOptionDefault = mkOverride 1500;
  mkBefore = mkOrder 500;
  mkAfter = mkOrder 1500;
  mkAssert = condition: message: content: mkIf (condition || throw message) content;

  mkOption = attributes: attributes // { _type = "option"; };
  mkEnableOption =
    name:
    mkOption {
      default = false;
      type = lib.types.bool;
      description = "Whether to enable ${name}.";
    };
  mkPackageOption =
    pkgs: name: _:
    mkOption {
      default = pkgs.${name};
      type = lib.types.package;
    };
  mdDoc = text: text;
  literalExpression = text: {
    _type = "literalExpression";
    inherit text;
  };
  literalMD = literalExpression;

  defaultPriority = 100;
  defaultOrder = 1000;
  hasType = type: value: builtins.isAttrs value && (value._type or null) == type;
  isOption = hasType "option";

  # A definition with its conditions and merges worked out: a list of { file, value, priority, order }.
  discharge =
    definition:
    let
      value = definition.value;
      on = content: discharge (definition // { value = content; });
    in
    if hasType "merge" value then
      builtins.concatMap on value.contents
    else if hasType "if" value then
      (if value.condition then on value.content else [ ])
    else if hasType "override" value then
      map (inner: inner // { inherit (value) priority; }) (on value.content)
    else if hasType "order" value then
      map (inner: inner // { order = value.priority; }) (on value.content)
    else
      [
        {
          inherit (definition) file value;
          priority = definition.priority or defaultPriority;
          order = definition.order or defaultOrder;
        }
      ];

  # The definitions that count: the strongest, in their order.
  strongest =
    definitions:
    let
      discharged = builtins.concatMap discharge definitions;
      best = builtins.foldl' (least: d: if d.priority < least then d.priority else least) 9999 discharged;
    in
    builtins.sort (a: b: a.order < b.order) (builtins.filter (d: d.priority == best) discharged);

  # One step down into definitions of a set, without asking whether their conditions hold: so the names of options
  # never depend on the values of options. Gives a list of { file, value } where each value is a plain set.
  pushDown =
    definition:
    let
      value = definition.value;
      on = content: pushDown (definition // { value = content; });
      wrapped =
        rewrap: content:
        map (inner: inner // { value = builtins.mapAttrs (_: rewrap) inner.value; }) (on content);
    in
    if hasType "merge" value then
      builtins.concatMap on value.contents
    else if hasType "if" value then
      wrapped (mkIf value.condition) value.content
    else if hasType "override" value then
      wrapped (mkOverride value.priority) value.content
    else if hasType "order" value then
      wrapped (mkOrder value.priority) value.content
    else
      [ definition ];
}
