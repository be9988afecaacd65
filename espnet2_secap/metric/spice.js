// SPICE's own Java classes, one process for many requests: run by Rhino (which any Java from 8 on can run, and with
// no Java compiler) from spice.py. SPICE's own program reads one file, parses every reference again for each
// candidate, and writes its values by a script engine that Java 15 dropped.
// A request is a line on standard input, a JSON list of [[reference, ...], candidate]; the answer is a line with the
// JSON list of their F values, 0 to 1.
"use strict";

var System = java.lang.System;
var spice = Packages.edu.anu.spice;

var answers = System.out;
System.setOut(System.err); // what the libraries have to say is no answer

// Lines are read beside the work: when the other side is gone, the program ends in the middle of a sentence.
var requests = new java.util.concurrent.LinkedBlockingQueue();
new java.lang.Thread(new java.lang.Runnable({
  run: function () {
    var input = new java.io.BufferedReader(new java.io.InputStreamReader(System["in"], "UTF-8"));
    for (var line = input.readLine(); line !== null; line = input.readLine()) requests.put(line);
    java.lang.Runtime.getRuntime().halt(0);
  },
})).start();

var parser = new spice.SpiceParser(null, java.lang.Runtime.getRuntime().availableProcessors(), true);
var graphs = new java.util.HashMap(); // JSON list of captions -> their one scene graph

// All scene graphs that are not there yet, in one go: the parser takes several sentences at a time.
function parse(groups) {
  var captions = new java.util.ArrayList();
  var sizes = new java.util.ArrayList();
  var keys = [];
  groups.forEach(function (group) {
    var key = JSON.stringify(group);
    if (graphs.containsKey(key)) return;
    graphs.put(key, null);
    keys.push(key);
    sizes.add(java.lang.Integer.valueOf(group.length));
    group.forEach(function (caption) { captions.add(caption); });
  });
  var parsed = parser.parseCaptions(captions, sizes);
  keys.forEach(function (key, at) { graphs.put(key, parsed.get(at)); });
}

function tuples(group) {
  return new spice.TupleSet(graphs.get(JSON.stringify(group)));
}

for (;;) {
  var pairs = JSON.parse(requests.take());
  parse(pairs.map(function (pair) { return pair[0]; }));
  parse(pairs.map(function (pair) { return [pair[1]]; }));
  answers.println(JSON.stringify(pairs.map(function (pair) {
    return new spice.Evaluation(tuples([pair[1]]), tuples(pair[0]), false, true).f;
  })));
  answers.flush();
}
