# Numbers, booleans and lists in `ssh`, and strings with what ssh takes as they are.
{
  systems.www.configuration = { ... }: { };
  instances = {
    bare.system = "www";
    empty = { system = "www"; ssh.SendEnv = [ ]; };
    plain = {
      system = "www";
      ssh = {
        User = "root";
        Hostname = "192.0.2.1";
        ProxyCommand = "ssh -W %h:%p portico";
      };
    };
    typed = {
      system = "www";
      ssh = {
        Port = 2222;
        ForwardAgent = true;
        PasswordAuthentication = false;
        IdentityFile = [ "~/.ssh/one" "~/.ssh/two" ];
        LocalForward = [ "8080 localhost:80" 1.5 true 3 ];
        ServerAliveInterval = 15.0;
      };
    };
  };
}
