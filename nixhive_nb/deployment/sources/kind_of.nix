# What a value is called in messages: "a number", "a list". The words are those of KINDS in `deployment/node.py`.
value:
{
  bool = "a boolean";
  float = "a number";
  int = "a number";
  lambda = "a function";
  list = "a list";
  null = "null";
  path = "a path";
  set = "an attribute set";
  string = "a string";
}.${builtins.typeOf value}
