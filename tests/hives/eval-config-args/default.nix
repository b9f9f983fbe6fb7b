# Arguments for eval-config.nix are handed on without being evaluated here.
{
  systems.www = {
    configuration = { fleet, ... }: { networking.domain = fleet; };
    evalConfigArgs = {
      specialArgs.fleet = "example.com";
      extraModules = [ (throw "evaluated too early") ];
    };
    checks.web = throw "reserved for later";
  };
  instances.www-1 = { system = "www"; checks.ping = throw "reserved for later"; };
}
