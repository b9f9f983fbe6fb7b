{
  systems = {
    www.configuration = { ... }: { };
    db.configuration = { ... }: { };
  };
  instances = {
    www-2 = { system = "www"; tags = [ "web" "rack-b" ]; };
    www-10 = { system = "www"; tags = [ "web" ]; };
    www-1 = { system = "www"; tags = [ ]; };
    db-1 = { system = "db"; tags = [ "rack-b" "backup" ]; };
  };
}
