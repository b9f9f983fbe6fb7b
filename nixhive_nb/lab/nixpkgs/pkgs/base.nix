# What every system stands on: some paths that refer to each other, as a real closure does.
{
  lib,
  sizes,
  builders,
}:
let
  part =
    number:
    builders.ballast {
      name = "base-${lib.fixedWidthString 3 "0" (toString number)}";
      kib = sizes.basePathKiB;
      references = map (builtins.elemAt parts) (lib.unique (lib.optionals (number > 0) [ ((number - 1) / 2) (number - 1) ]));
    };
  parts = builtins.genList part sizes.basePaths;
in
parts
