# What Python needs of a deployment, as JSON. Values come with their type and the place where they stand, so that
# Python can say what is wrong with them; functions, `evalConfigArgs` and unknown attributes stay unevaluated.
# Without `places`, an instance that holds nothing but texts, numbers and lists of them is given as it is: a fleet has
# thousands of these, and where something of one stands is asked when it has a mistake.
# `source` is the deployment, where it does not stand at <deployment>.
{ places, source ? import <deployment> }:
let
  inherit (builtins) addErrorContext all attrNames attrValues deepSeq elem elemAt filter functionArgs genList hasContext isAttrs
    isBool isFloat isFunction isInt isList isString length mapAttrs removeAttrs typeOf;

  place = name: set:
    let position = builtins.unsafeGetAttrPos name set;
    in
    # What stands in no file is of an expression of ours.
    if position == null || builtins.substring 0 1 position.file != "/" then null else [ position.file position.line ];

  # Such a set is a string to Nix, in JSON too; it would hide the rest of what stands here.
  stringLike = value: isAttrs value && (value ? outPath || value ? __toString);

  # A value without structure. A path gives its name, and is not copied to the store.
  plain = value:
    let
      type = typeOf value;
      items = map plain value;
    in
    { inherit type; } // (
      if elem type [ "string" "int" "float" "bool" ] then { inherit value; }
      else if stringLike value then { type = "derivation"; }
      else if type == "path" then { value = toString value; }
      else if type == "list" then deepSeq items { inherit items; }
      else { });

  # A text that this machine has to have the paths of: what stands in its context is built, or copied to the store.
  # At once, so that a build that fails is told with what wants it.
  text = value:
    builtins.seq (builtins.pathExists (builtins.appendContext "/" (builtins.getContext value))) {
      type = "string";
      inherit value;
    };

  # An include path: what Nix itself can turn into a string, such as a derivation or the result of `fetchGit`.
  location = value:
    if stringLike value then text (toString value)
    else if typeOf value == "string" then text value
    else plain value;

  # The value of an ssh option: ssh reads the files that it names here.
  option = value:
    if typeOf value == "string" then text value
    else if typeOf value == "list" then { type = "list"; items = map option value; }
    else plain value;

  module = value:
    if typeOf value == "set" && value ? __functor then { type = "lambda"; } else plain value;

  hidden = value: { type = "hidden"; };

  member = describe: what: set: name: value:
    { at = place name set; } // addErrorContext "nix-hive: ${what name}" (describe value);

  isTable = value: isAttrs value && !stringLike value;

  # A set with any names.
  table = describe: what: value:
    if isTable value then { type = "set"; members = mapAttrs (member describe what value) value; }
    else plain value;

  # A set with known names; of others, only the place is given.
  record = shapes: of: value:
    let describe = name: (shapes.${name} or hidden);
    in
    if isTable value
    then {
      type = "set";
      members = mapAttrs (name: inner: member (describe name) (name: "`${name}`${of}") value name inner) value;
    }
    else plain value;

  # A set with any names of sets with known names; `shapesOf` gets the words that say whose they are.
  named = kind: isPlain: shapesOf: value:
    let
      one = name: inner:
        let
          of = " of ${kind} ${name}";
          inContext = addErrorContext "nix-hive: ${kind} ${name}";
          shapes = shapesOf of;
          plainly =
            if inner ? checks
            then { plain = removeAttrs inner [ "checks" ]; members.checks = inContext (shapes.checks inner.checks); }
            else { plain = inner; };
        in
        if !places && inContext (isPlain inner) then plainly
        else { at = place name value; } // inContext (record shapes of inner);
    in
    if isTable value then { type = "set"; members = mapAttrs one value; }
    else plain value;

  paths = table location (name: "`paths.${name}`");

  checkForms = {
    command = plain;
    http = plain;
    expect = plain;
    tcp = plain;
    units = plain;
    from = plain;
    period = plain;
    timeout = plain;
    for = plain;
    description = plain;
  };

  # Checks by name, or a list of them.
  checks = of: value:
    let
      check = what: inner: addErrorContext "nix-hive: ${what}" (record checkForms " of ${what}" inner);
      byName = name: inner: { at = place name value; } // check "`checks.${name}`${of}" inner;
      byNumber = index: check "number ${toString (index + 1)} in `checks`${of}" (elemAt value index);
    in
    if isTable value then { type = "set"; members = mapAttrs byName value; }
    else if typeOf value == "list" then { type = "list"; items = genList byNumber (length value); }
    else plain value;

  # What stands in it is neither built nor copied to the store, and comes to Python as the same value.
  isScalar = value: if isString value then !hasContext value else isInt value || isBool value || isFloat value;
  isOption = value: if isList value then all isScalar value else isScalar value;
  areTexts = value: isList value && all isString value;
  inInstance = [ "carrier" "checks" "elevate" "hostCAs" "hostKeys" "ssh" "store" "system" "tags" ];
  none = [ ];

  # Without words for errors, which cost as much as the looks: where one of these cannot be evaluated, all is asked for
  # again, with places.
  isPlainInstance = value:
    isTable value
    && removeAttrs value inInstance == { }
    && isString (value.carrier or "")
    && (let how = value.elevate or ""; in isString how || areTexts how)
    && areTexts (value.hostKeys or none)
    && areTexts (value.hostCAs or none)
    && isTable (value.ssh or { })
    && all isOption (attrValues (value.ssh or { }))
    && isString (value.store or "")
    && isString (value.system or "")
    && areTexts (value.tags or none);

  deployment = record
    {
      inherit paths;
      systems = named "system" (value: false) (of: {
        inherit paths;
        configuration = module;
        system = plain;
        build = plain;
        checks = checks of;
        elevate = plain;
      });
      instances = named "instance" isPlainInstance (of: {
        system = plain;
        store = plain;
        tags = plain;
        ssh = table option (name: "`ssh.${name}`${of}");
        hostKeys = plain;
        hostCAs = plain;
        elevate = plain;
        carrier = plain;
        checks = checks of;
      });
      nix = record { build = record { flags = plain; } " of `nix.build`"; } " of `nix`";
      signing = record { keyFile = plain; } " of `signing`";
      refuse = plain;
    } "";

  arguments = if isFunction source then functionArgs source else { };
  required = filter (name: !arguments.${name}) (attrNames arguments);
  # A set that is called as a function is one.
  isCalled = isFunction source || (isAttrs source && source ? __functor);
  called = if isCalled && required == [ ] then source { } else source;
  isSet = isAttrs called && !(called ? __functor);
  # Of a file in another format no more is looked at.
  theirs = isSet && (called ? meta || called ? network || called ? defaults);
  network = called.network or { };
in
{
  # Not known where evaluation is pure.
  platform = builtins.currentSystem or "";
  nix = builtins.nixVersion;
  inherit required;
  names = if isSet then attrNames called else [ ];
  network = if theirs && isAttrs network then attrNames network else [ ];
  deployment =
    if required != [ ] then { type = "lambda"; }
    else if theirs && !(called ? systems || called ? instances) then { type = "set"; }
    else deployment called;
}
