{
  systems = {
    portico.configuration = { ... }: { };
    www.configuration = { ... }: { };
  };
  instances = {
    portico = { system = "portico"; ssh.Hostname = "portico.example.com"; };
    www-1 = { system = "www"; store = "ssh://portico"; ssh.ProxyJump = "portico"; };
    www-2 = { system = "www"; store = "ssh-ng://deploy@portico:2222?compress=true"; };
    www-3 = { system = "www"; store = "s3://cache?region=eu-west-1&endpoint=minio.example.com"; };
    www-4 = { system = "www"; store = "file:///mnt/cache"; };
    www-5 = { system = "www"; store = ""; };
  };
}
