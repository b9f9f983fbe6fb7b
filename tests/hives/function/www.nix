{ pkgs, ... }: { services.nginx.enable = true; }
