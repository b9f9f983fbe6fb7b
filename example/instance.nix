# What all hosts have in common.
{ lib, pkgs, ... }:
{
  boot.loader.grub.device = lib.mkDefault "/dev/vda";
  fileSystems."/" = {
    device = "/dev/disk/by-label/nixos";
    fsType = "ext4";
  };

  services.openssh = {
    enable = true;
    settings = {
      PasswordAuthentication = false;
      PermitRootLogin = "prohibit-password";
    };
  };
  # Put your own public key here, or the next login is the last one.
  users.users.root.openssh.authorizedKeys.keys = lib.mkDefault [ ];

  nix.settings.trusted-users = [ "root" ];
  nix.gc = {
    automatic = true;
    options = "--delete-older-than 30d";
  };

  environment.systemPackages = [
    pkgs.curl
    pkgs.htop
  ];
  # Shown at each login: change it, deploy, and see.
  users.motdFile = "/etc/motd";
  environment.etc.motd.text = lib.mkBefore "One of the fleet. Changes made by hand do not last here.";

  time.timeZone = "UTC";
  system.stateVersion = "24.11";
}
