# Checks: of a system, of an instance, by name, in a list; an instance's own win by name.
{
  systems.www = {
    configuration = { ... }: { };
    checks = {
      nginx.command = [ "systemctl" "is-active" "nginx" ];
      page = { http = "http://localhost/"; timeout = 20; };
    };
  };
  systems.db = {
    configuration = { ... }: { };
    checks = [ { tcp = 5432; } { units = true; } ];
  };
  instances = {
    www-1.system = "www";
    www-2 = {
      system = "www";
      checks.page = { http = "https://localhost/"; expect = 301; description = "the plain page moved"; };
    };
    db-1 = { system = "db"; checks = [ { tcp = 22; from = "here"; period = 0.5; } ]; };
    spare.system = "spare";
  };
  systems.spare.configuration = { ... }: { };
}
