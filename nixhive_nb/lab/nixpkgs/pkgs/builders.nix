# How derivations are made here: the machine's sh and a few of its programs, no compiler, no download.
{ lib, system }:
rec {
  # A script that fills $out, with `set -eu`. Further attributes reach it as its environment.
  derive =
    {
      name,
      script,
      meta ? { },
      ...
    }@attributes:
    derivation (
      removeAttrs attributes [ "meta" ]
      // {
        inherit system script;
        name = lib.concatStringsSep "-" (builtins.filter builtins.isString (builtins.split "[^A-Za-z0-9+._?=-]+" name));
        builder = "/bin/sh";
        args = [ "-euc" ''. "$scriptPath"'' ];
        PATH = "/usr/bin:/bin";
        passAsFile = [ "script" ] ++ attributes.passAsFile or [ ];
      }
    )
    // { inherit meta; };

  # A file of that many KiB. Its content follows from the name alone, and no two names share any of it.
  ballast =
    {
      name,
      file ? "share/${name}",
      kib,
      references ? [ ],
    }:
    derive {
      inherit name file references;
      kib = toString kib;
      seed = builtins.hashString "sha256" name;
      script = ''
        mkdir -p "$(dirname "$out/$file")"
        seq -f "$seed %.0f" 1 $((kib * 16)) | head -c $((kib * 1024)) >"$out/$file"
        printf '%s\n' $references >"$out/references"
      '';
    };

  writeTextFile =
    {
      name,
      text,
      executable ? false,
      destination ? "",
      ...
    }:
    derive {
      inherit name text destination;
      passAsFile = [ "text" ];
      mode = if executable then "755" else "644";
      script = ''
        mkdir -p "$(dirname "$out$destination")"
        cp "$textPath" "$out$destination"
        chmod "$mode" "$out$destination"
      '';
    };
  writeText = name: text: writeTextFile { inherit name text; };
  writeTextDir =
    path: text:
    writeTextFile {
      inherit text;
      name = baseNameOf path;
      destination = "/${path}";
    };
  writeShellScript =
    name: text:
    writeTextFile {
      inherit name;
      text = "#!/bin/sh\n${text}";
      executable = true;
    };
  writeShellScriptBin =
    name: text:
    writeTextFile {
      inherit name;
      text = "#!/bin/sh\n${text}";
      executable = true;
      destination = "/bin/${name}";
    };
  writeScript =
    name: text:
    writeTextFile {
      inherit name text;
      executable = true;
    };
  writeScriptBin =
    name: text:
    writeTextFile {
      inherit name text;
      executable = true;
      destination = "/bin/${name}";
    };
  runCommand =
    name: environment: script:
    derive (environment // { inherit name script; });
  runCommandLocal = runCommand;
  emptyDirectory = runCommand "empty-directory" { } ''mkdir "$out"'';

  # One folder with links to everything in `paths`; the first of several that have a file wins.
  symlinkJoin =
    {
      name,
      paths,
      ...
    }:
    derive {
      inherit name paths;
      script = ''
        mkdir -p "$out"
        for path in $paths; do
          (cd "$path" && find . ! -type d) | while read -r file; do
            [ -e "$out/$file" ] || [ -L "$out/$file" ] && continue
            mkdir -p "$(dirname "$out/$file")"
            ln -s "$path/''${file#./}" "$out/$file"
          done
        done
      '';
    };
  buildEnv = symlinkJoin;
}
