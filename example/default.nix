# A deployment: a jump host, web servers and a storage server behind it.
#
#   nix-hive deploy -c example portico '*'
#
# For hosts of your own, change the addresses below and the keys in `signing` and `hostKeys`. To try it without any
# host, run `nix-hive lab up`: it starts a practice fleet on this machine and writes a `lab.nix` beside this file, from
# which everything that differs there is taken.
let
  lab = if builtins.pathExists ./lab.nix then import ./lab.nix else { };

  # The addresses of the real hosts. Those behind portico need not be reachable from here.
  addresses = {
    portico = "203.0.113.10";
    www-1 = "10.20.0.11";
    www-2 = "10.20.0.12";
    www-3 = "10.20.0.13";
    depot = "10.20.0.20";
  };

  # The public half of `signing.keyFile`: hosts take from portico only what that key has signed. Replace it by your own;
  # nobody has the other half of this one.
  publicKey = lab.publicKey or "portico-1:zfdEzT2k35KjmbuNj1vfuyFWkIepC8EuK8HLoNAXYHw=";

  # What the hosts behind portico have to know of it. The address is the one on their side.
  relay = {
    inherit publicKey;
    address = "10.20.0.1";
    hostKeys = hostKeys "portico";
  };

  # How to log in: what the practice fleet says, or else the address.
  ssh = name: lab.instances.${name}.ssh or { Hostname = addresses.${name}; User = "root"; };
  # A host's public key, as in /etc/ssh/ssh_host_ed25519_key.pub. Without one, your own known_hosts decides.
  hostKeys = name: lab.instances.${name}.hostKeys or [ ];

  # An instance behind portico: reached through it, and supplied from its store.
  inner = name: system: tags: {
    inherit system tags;
    store = "ssh://portico";
    ssh = ssh name // { ProxyJump = "portico"; };
    hostKeys = hostKeys name;
  };

  names = builtins.attrNames (lab.instances or addresses);
  webNames = builtins.filter (name: builtins.match "www-[0-9]+" name != null) names;
in
{
  # Nothing is downloaded for a practice fleet: it brings a small stand-in.
  paths.nixpkgs =
    lab.nixpkgs or (builtins.fetchTarball "https://channels.nixos.org/nixos-24.11/nixexprs.tar.xz");

  # Make it once: nix-store --generate-binary-cache-key portico-1 /root/keys/hive-signing.secret \
  #   /root/keys/hive-signing.public
  signing.keyFile = lab.signingKeyFile or "/root/keys/hive-signing.secret";

  # Words for the build command: remote builders are named here, as "--builders" "ssh://builder".
  nix.build.flags = lab.buildFlags or [ ];

  systems = {
    portico.configuration = import ./portico.nix { inherit publicKey; };
    www.configuration = import ./www.nix { inherit relay; };
    depot.configuration = import ./depot.nix { inherit relay; };
  };

  instances =
    {
      portico = {
        system = "portico";
        tags = [ "jump" ];
        ssh = ssh "portico";
        hostKeys = hostKeys "portico";
      };
      depot = inner "depot" "depot" [ "storage" ];
    }
    // builtins.listToAttrs (
      map (name: {
        inherit name;
        value = inner name "www" [ "web" ];
      }) webNames
    );
}
