# Types of options. A type says which values it takes and how several definitions become one value:
# merge = location: definitions: value, with definitions as `strongest` gives them, at least one.
lib:
let
  inherit (builtins) all any concatMap elem head isAttrs isBool isInt isList isPath isString length map;

  show =
    value:
    if lib.isDerivation value then
      "<derivation ${value.name}>"
    else if builtins.isFunction value then
      "<function>"
    else if isAttrs value || isList value then
      "a ${builtins.typeOf value}"
    else
      builtins.toJSON value;
  listed = definitions: lib.concatMapStrings (d: "\n- In `${d.file}': ${show d.value}") definitions;

  conflict =
    location: definitions:
    throw ''
      The option `${lib.showOption location}' has conflicting definition values:${listed definitions}
      Use `lib.mkForce value' or `lib.mkDefault value' to change the priority on any of these definitions.'';
  wrong =
    location: type: definitions:
    throw "A definition for option `${lib.showOption location}' is not of type `${type.description}'. Definition values:${listed definitions}";

  one =
    location: definitions:
    let
      first = (head definitions).value;
    in
    if length definitions == 1 || all (d: d.value == first) definitions then first else conflict location definitions;

  mkType =
    {
      description,
      check ? _: true,
      merge ? one,
      ...
    }@type:
    type
    // {
      _type = "option-type";
      inherit description check;
      merge =
        location: definitions:
        let
          bad = builtins.filter (d: !check d.value) definitions;
        in
        if bad == [ ] then merge location definitions else wrong location type bad;
    };
  scalar = description: check: mkType { inherit description check; };

  elements =
    type: location: definitions:
    builtins.concatLists (
      map (
        d:
        builtins.concatLists (
          lib.imap1 (
            n: value:
            let
              found = lib.strongest [ { inherit (d) file; inherit value; } ];
            in
            lib.optional (found != [ ]) (type.merge (location ++ [ "[definition ${toString n}]" ]) found)
          ) d.value
        )
      ) definitions
    );

  # All definitions of each name, those whose conditions do not hold left out.
  byName =
    definitions:
    let
      sets = concatMap lib.pushDown definitions;
      names = lib.unique (concatMap (d: builtins.attrNames d.value) sets);
      of =
        name:
        lib.strongest (
          map (d: { inherit (d) file; value = d.value.${name}; }) (builtins.filter (d: d.value ? ${name}) sets)
        );
    in
    lib.genAttrs names of;

  members =
    type: location: definitions:
    builtins.mapAttrs (name: found: type.merge (location ++ [ name ]) found) (
      lib.filterAttrs (_: found: found != [ ]) (byName definitions)
    );

  isText = value: isString value || isPath value || (isAttrs value && (value ? outPath || value ? __toString));
  isPlainSet = value: isAttrs value && !lib.isDerivation value;

  types = rec {
    inherit mkType;
    mkOptionType = mkType;

    bool = scalar "boolean" isBool;
    int = scalar "signed integer" isInt;
    float = scalar "floating point number" builtins.isFloat;
    number = scalar "number" (value: isInt value || builtins.isFloat value);
    port = scalar "16 bit unsigned integer" (value: isInt value && value >= 0 && value < 65536);
    str = scalar "string" isString;
    singleLineStr = str;
    nonEmptyStr = scalar "non-empty string" (value: isString value && value != "");
    path = scalar "path" (value: isText value && lib.hasPrefix "/" (toString value));
    package = scalar "package" isText;
    shellPackage = package;
    raw = scalar "raw value" (_: true);
    ints = {
      unsigned = scalar "unsigned integer" (value: isInt value && value >= 0);
      positive = scalar "positive integer" (value: isInt value && value > 0);
      between = low: high: scalar "integer between ${toString low} and ${toString high}" (value: isInt value && value >= low && value <= high);
    };
    enum = values: scalar "one of ${lib.concatMapStringsSep ", " show values}" (value: elem value values);
    strMatching = pattern: scalar "string matching ${pattern}" (value: isString value && builtins.match pattern value != null);
    separatedString =
      separator:
      mkType {
        description = "string";
        check = isString;
        merge = _: definitions: lib.concatStringsSep separator (map (d: d.value) definitions);
      };
    lines = separatedString "\n";
    commas = separatedString ",";
    envVar = separatedString ":";

    listOf =
      type:
      mkType {
        description = "list of ${type.description}";
        check = isList;
        merge = elements type;
        emptyValue = [ ];
      };
    nonEmptyListOf = listOf;
    attrsOf =
      type:
      mkType {
        description = "attribute set of ${type.description}";
        check = isPlainSet;
        merge = members type;
        emptyValue = { };
      };
    lazyAttrsOf = attrsOf;
    attrs = mkType {
      description = "attribute set";
      check = isAttrs;
      merge = _: definitions: lib.mergeAttrsList (map (d: d.value) definitions);
      emptyValue = { };
    };
    nullOr =
      type:
      mkType {
        description = "null or ${type.description}";
        check = value: value == null || type.check value;
        merge =
          location: definitions:
          if any (d: d.value == null) definitions then one location definitions else type.merge location definitions;
        emptyValue = null;
      };
    either =
      left: right:
      mkType {
        description = "${left.description} or ${right.description}";
        check = value: left.check value || right.check value;
        merge =
          location: definitions:
          (if all (d: left.check d.value) definitions then left else right).merge location definitions;
      };
    oneOf = options: builtins.foldl' either (head options) (builtins.tail options);
    coercedTo =
      from: coerce: to:
      mkType {
        description = "${to.description} or ${from.description}";
        check = value: from.check value || to.check value;
        merge =
          location: definitions:
          to.merge location (map (d: if from.check d.value then d // { value = coerce d.value; } else d) definitions);
      };
    uniq = type: type;
    unique = _: type: type;
    submodule =
      module:
      mkType {
        description = "submodule";
        check = value: isAttrs value || builtins.isFunction value || isPath value;
        merge =
          location: definitions:
          (lib.evalModules {
            prefix = location;
            modules = lib.toList module ++ map (d: { _file = d.file; imports = [ d.value ]; }) definitions;
            specialArgs.name = lib.last location;
          }).config;
        emptyValue = { };
      };
    submoduleWith = { modules, ... }: submodule modules;

    # Whatever it is: sets merge, lists follow each other, equal scalars are one, different ones are a conflict.
    anything = mkType {
      description = "anything";
      merge =
        location: definitions:
        if all (d: isPlainSet d.value) definitions then
          members anything location definitions
        else if all (d: isList d.value) definitions then
          elements anything location definitions
        else
          one location definitions;
      emptyValue = { };
    };
    unspecified = anything;
  };
in
types
