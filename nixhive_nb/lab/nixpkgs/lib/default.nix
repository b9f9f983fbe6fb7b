# The functions of `lib` that configurations use.
let
  lib =
    {
      inherit (builtins)
        add all any attrNames attrValues catAttrs concatLists concatMap elem elemAt filter foldl' fromJSON functionArgs
        genList getAttr hasAttr head intersectAttrs isAttrs isBool isFunction isInt isList isString length listToAttrs
        map mapAttrs match pathExists readFile removeAttrs replaceStrings seq sort split stringLength substring tail
        toJSON toString trace typeOf concatStringsSep
        ;
    }
    // import ./basics.nix lib
    // import ./priorities.nix lib
    // import ./modules.nix lib
    // {
      types = import ./types.nix lib;
      # The usual second names.
      attrsets = lib;
      lists = lib;
      strings = lib;
      modules = lib;
      options = lib;
      trivial = lib // {
        release = lib.fileContents ../.version;
      };
      version = lib.trivial.release;
    };
in
lib
