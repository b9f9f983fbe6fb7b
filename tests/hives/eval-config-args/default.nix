# Arguments for eval-config.nix are handed on without being evaluated here.
{
  systems.www = {
    configuration = { fleet, ... }: { networking.domain = fleet; };
    evalConfigArgs = {
      specialArgs.fleet = "example.com";
      extraModules = [ (throw "evaluated too early") ];
    };
  };
  instances.www-1 = { system = "www"; };
}
