# Lists, attribute sets and strings.
lib: with builtins; rec {
  id = x: x;
  const = x: _: x;
  flip = f: a: b: f b a;
  pipe = foldl' (value: f: f value);
  importJSON = path: fromJSON (readFile path);
  importTOML = path: fromTOML (readFile path);
  fileContents = path: removeSuffix "\n" (readFile path);
  warn = message: trace "warning: ${message}";
  throwIf = condition: message: value: if condition then throw message else value;
  throwIfNot = condition: throwIf (!condition);
  assertMsg = condition: message: condition || throw message;

  optional = condition: value: if condition then [ value ] else [ ];
  optionals = condition: values: if condition then values else [ ];
  flatten = x: if isList x then concatMap flatten x else [ x ];
  toList = x: if isList x then x else [ x ];
  singleton = x: [ x ];
  range = first: last: genList (n: first + n) (if last < first then 0 else last - first + 1);
  last = list: elemAt list (length list - 1);
  unique = foldl' (seen: x: if elem x seen then seen else seen ++ [ x ]) [ ];
  imap0 = f: list: genList (n: f n (elemAt list n)) (length list);
  imap1 = f: imap0 (n: f (n + 1));
  forEach = list: f: map f list;
  partition = builtins.partition;
  zipListsWith =
    f: a: b:
    genList (n: f (elemAt a n) (elemAt b n)) (if length a < length b then length a else length b);
  foldr =
    f: start: list:
    if list == [ ] then start else f (head list) (foldr f start (tail list));
  fold = foldr;
  take = count: list: genList (elemAt list) (if count < length list then count else length list);
  drop = count: list: genList (n: elemAt list (n + count)) (if count < length list then length list - count else 0);

  optionalAttrs = condition: set: if condition then set else { };
  nameValuePair = name: value: { inherit name value; };
  filterAttrs = keep: set: listToAttrs (filter (pair: keep pair.name pair.value) (attrsToList set));
  attrsToList = set: map (name: nameValuePair name set.${name}) (attrNames set);
  mapAttrs' = f: set: listToAttrs (map (name: f name set.${name}) (attrNames set));
  mapAttrsToList = f: set: map (name: f name set.${name}) (attrNames set);
  genAttrs = names: f: listToAttrs (map (name: nameValuePair name (f name)) names);
  attrByPath =
    path: default: set:
    if path == [ ] then
      set
    else if isAttrs set && set ? ${head path} then
      attrByPath (tail path) default set.${head path}
    else
      default;
  getAttrFromPath = path: attrByPath path (throw "cannot find attribute `${concatStringsSep "." path}'");
  hasAttrByPath = path: set: path == [ ] || (isAttrs set && set ? ${head path} && hasAttrByPath (tail path) set.${head path});
  setAttrByPath = path: value: if path == [ ] then value else { ${head path} = setAttrByPath (tail path) value; };
  recursiveUpdate =
    left: right:
    left
    // mapAttrs (
      name: value: if isAttrs value && isAttrs (left.${name} or null) then recursiveUpdate left.${name} value else value
    ) right;
  zipAttrsWith =
    f: sets:
    genAttrs (unique (concatMap attrNames sets)) (name: f name (catAttrs name sets));
  mergeAttrsList = foldl' (a: b: a // b) { };
  stringAfter = deps: text: { inherit deps text; };
  isDerivation = x: isAttrs x && (x.type or null) == "derivation";
  getExe = package: "${package}/bin/${package.meta.mainProgram or package.pname or package.name}";
  makeBinPath = packages: concatMapStringsSep ":" (package: "${package}/bin") packages;

  optionalString = condition: text: if condition then text else "";
  concatStrings = concatStringsSep "";
  concatMapStrings = f: list: concatStrings (map f list);
  concatMapStringsSep =
    separator: f: list:
    concatStringsSep separator (map f list);
  concatMapAttrsStringSep =
    separator: f: set:
    concatStringsSep separator (mapAttrsToList f set);
  concatLines = concatMapStrings (line: line + "\n");
  hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
  hasSuffix =
    suffix: text:
    let
      start = stringLength text - stringLength suffix;
    in
    start >= 0 && substring start (stringLength suffix) text == suffix;
  hasInfix = infix: text: length (splitString infix text) > 1;
  removePrefix = prefix: text: if hasPrefix prefix text then substring (stringLength prefix) (-1) text else text;
  removeSuffix =
    suffix: text:
    if hasSuffix suffix text then substring 0 (stringLength text - stringLength suffix) text else text;
  escapeRegex = replaceStrings (stringsOf "\\[{()^$?*+|.") (map (c: "\\${c}") (stringsOf "\\[{()^$?*+|."));
  stringsOf = text: genList (n: substring n 1 text) (stringLength text);
  stringToCharacters = stringsOf;
  splitString = separator: text: filter isString (split (escapeRegex separator) text);
  escapeShellArg = text: "'${replaceStrings [ "'" ] [ "'\\''" ] (toString text)}'";
  escapeShellArgs = concatMapStringsSep " " escapeShellArg;
  fixedWidthString =
    width: filler: text:
    if stringLength text >= width then text else fixedWidthString width filler (filler + text);
  boolToString = value: if value then "true" else "false";
  toLower = replaceStrings (stringsOf "ABCDEFGHIJKLMNOPQRSTUVWXYZ") (stringsOf "abcdefghijklmnopqrstuvwxyz");
  versionAtLeast = a: b: compareVersions a b >= 0;
  generators = {
    toJSON = _: toJSON;
    toINI =
      _: sections:
      concatStrings (
        mapAttrsToList (
          section: values: "[${section}]\n" + concatStrings (mapAttrsToList (name: value: "${name}=${toString value}\n") values)
        ) sections
      );
  };
}
