# The fleet that the notebooks work on: that of `example/`, with a page of our own and a check of it.
#
# A deployment is a value, so one can stand on another. For hosts of your own, write your own deployment.
let
  example = import ../../example;

  # The change that 02-rolling-deploy rolls out is a change of this file. It is not kept in the repository.
  page = if builtins.pathExists ./page.txt then builtins.readFile ./page.txt else "Good morning from a web server.\n";

  www = {
    configuration = { lib, ... }: {
      imports = [ example.systems.www.configuration ];
      environment.etc."www/index.html".text = lib.mkForce "<!doctype html>\n<title>From the fleet</title>\n<p>${page}";
    };

    # A real web server would be asked for its page: { http = "http://localhost/"; }
    checks.page = {
      command = [ "grep" "-q" "web server" "/etc/www/index.html" ];
      timeout = 2;
    };
  };
in
example // { systems = example.systems // { inherit www; }; }
