# Modules become one configuration, by a lazy fixed point: each module may ask for what all of them together say.
lib:
let
  inherit (builtins) attrNames concatMap elem filter head isAttrs isFunction isPath isString map mapAttrs;

  reserved = [ "_file" "key" "imports" "options" "config" "disabledModules" "freeformType" "_class" ];

  # Where no option is declared but the place is a free one, everything goes.
  free = lib.mkOption { type = lib.types.anything; default = { }; };

  # A function, or a set that is called as one (`__functor`, and `__functionArgs` for what it asks for).
  isCallable = module: isFunction module || (isAttrs module && module ? __functor && module ? __functionArgs);

  fileOf = fallback: module: if isPath module || isString module then toString module else fallback;

  # A module in whichever form, as { file, imports, options, config, freeform }.
  normalise =
    args: fallback: module:
    let
      file = fileOf fallback module;
      loaded = if isPath module || isString module then import module else module;
      called = if isCallable loaded then loaded (argumentsFor args loaded) else loaded;
      from = toString (called._file or file);
      long = called ? config || called ? options;
      stray = attrNames (removeAttrs called (reserved ++ [ "meta" ]));
    in
    if !isAttrs called then
      throw "Module `${file}' is not an attribute set or a function that gives one."
    else if long && stray != [ ] then
      throw "Module `${from}' has an unsupported attribute `${head stray}'. This is caused by introducing a top-level `config' or `options' attribute. Add configuration attributes immediately on the top level instead, or move all of them into the explicit `config' attribute."
    else
      {
        file = from;
        imports = called.imports or [ ];
        options = called.options or { };
        config = if long then called.config or { } else removeAttrs called reserved;
        freeform = called.freeformType or null;
      };

  # What a function asks for by name and is not given directly is looked for in `config._module.args`.
  argumentsFor =
    args: f:
    args
    // mapAttrs (
      name: _:
      args.${name} or args.config._module.args.${name}
        or (throw "attribute '${name}' missing: there is no module argument of that name")
    ) (f.__functionArgs or (builtins.functionArgs f));

  # All modules with what they import. A file that is imported twice counts once.
  collect =
    args: modules:
    let
      go =
        state: fallback: module:
        let
          key = if isPath module || isString module then toString module else null;
          normal = normalise args fallback module;
          below = builtins.foldl' (inner: imported: go inner normal.file imported) {
            inherit (state) found;
            seen = state.seen ++ lib.optional (key != null) key;
          } normal.imports;
        in
        if key != null && elem key state.seen then state else below // { found = below.found ++ [ normal ]; };
    in
    (builtins.foldl' (state: module: go state "<unknown-file>" module) { found = [ ]; seen = [ ]; } modules).found;

  # The value of one option.
  evalOption =
    location: option: definitions:
    let
      type = option.type or lib.types.anything;
      defaults = lib.optional (option ? default) {
        file = "<default>";
        value = lib.mkOptionDefault option.default;
      };
      found = lib.strongest (definitions ++ defaults);
      value =
        if found != [ ] then
          type.merge location found
        else if type ? emptyValue then
          type.emptyValue
        else
          throw "The option `${lib.showOption location}' is used but not defined.";
    in
    if option.readOnly or false && builtins.length definitions > 1 then
      throw "The option `${lib.showOption location}' is read-only, but it's set multiple times."
    else
      (option.apply or (x: x)) value;

  # One level of the tree: { value, options, unknown }, where `unknown` lists definitions that no option takes.
  evalLevel =
    freeform: location: declarations: definitions:
    let
      pushed = concatMap lib.pushDown definitions;
      notSet = filter (d: !isAttrs d.value) pushed;
      declared = lib.unique (concatMap attrNames declarations);
      defined = lib.unique (concatMap (d: attrNames d.value) pushed);
      definitionsOf =
        name: map (d: { inherit (d) file; value = d.value.${name}; }) (filter (d: d.value ? ${name}) pushed);
      declarationsOf = name: builtins.catAttrs name declarations;
      nameFreeform = freeform || elem true (map (d: d._free or false) declarations);
      level =
        name:
        let
          here = location ++ [ name ];
          decls = declarationsOf name;
          option = head (filter lib.isOption decls);
        in
        if builtins.any lib.isOption decls then
          { value = evalOption here option (definitionsOf name); options = option; unknown = [ ]; }
        else if decls != [ ] then
          evalLevel false here decls (definitionsOf name)
        else
          { value = evalOption here free (definitionsOf name); options = free; unknown = [ ]; };
      names = filter (name: name != "_free") (declared ++ lib.optionals nameFreeform (filter (n: !elem n declared) defined));
      levels = lib.genAttrs names level;
      strangers = lib.optionals (!nameFreeform) (filter (name: !elem name declared) defined);
    in
    if notSet != [ ] then
      throw "The option `${lib.showOption location}' is a set of options, but ${(head notSet).file} gives it another kind of value."
    else
      {
        value = mapAttrs (_: found: found.value) levels;
        options = mapAttrs (_: found: found.options) levels;
        unknown =
          concatMap (name: levels.${name}.unknown) names
          ++ map (name: { location = location ++ [ name ]; definitions = definitionsOf name; }) strangers;
      };

  complain =
    unknown:
    let
      first = head unknown;
      places = lib.concatMapStrings (d: "\n- In `${d.file}'") first.definitions;
    in
    throw "The option `${lib.showOption first.location}' does not exist. Definition values:${places}";
in
{
  showOption = path: lib.concatStringsSep "." (map (part: if builtins.match "[A-Za-z_][A-Za-z0-9_'-]*|\\[.*" part != null || part == "*" then part else "\"${part}\"") path);
  subtractLists = unwanted: filter (x: !elem x unwanted);

  evalModules =
    {
      modules,
      prefix ? [ ],
      specialArgs ? { },
      check ? true,
      ...
    }:
    let
      internal = {
        _file = "lib/modules.nix";
        options._module = {
          args = lib.mkOption { type = lib.types.lazyAttrsOf lib.types.raw; default = { }; };
          check = lib.mkOption { type = lib.types.bool; default = check; };
          freeformType = lib.mkOption { type = lib.types.raw; default = null; };
        };
      };
      args = {
        inherit lib options;
        inherit (result) config;
      } // specialArgs;
      found = collect args ([ internal ] ++ modules);
      evaluated = evalLevel (builtins.any (m: m.freeform != null) found) prefix (map (m: m.options) found) (
        map (m: { inherit (m) file; value = m.config; }) found
      );
      result.config = evaluated.value;
      options = evaluated.options;
      checked =
        if evaluated.value._module.check && evaluated.unknown != [ ] then
          complain evaluated.unknown
        else
          removeAttrs evaluated.value [ "_module" ];
    in
    {
      inherit options;
      config = checked;
      _module = evaluated.value._module;
      type = lib.types.submodule modules;
    };

  mkRenamedOptionModule = from: to: { ... }: { };
  mkAliasOptionModule = from: to: { ... }: { };
  mkRemovedOptionModule = path: _: { ... }: { };
}
