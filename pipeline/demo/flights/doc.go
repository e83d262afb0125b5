// Package flights replays three million real flights as a stream of requests and labels:
// the source of `millrace demo` and of the model flights_delay.
//
// A request stands for a flight that departs, and carries what an airline would know of
// it at that moment, rolling delays of landed flights included. Its label, the delay at
// arrival, comes when the flight has landed. Both come out in event-time order, so a
// request never knows a label that a consumer of the stream has not been sent before.
//
// The rules of the features stand in deploy/examples/flights/features.py, which trains
// the model; golden files in testdata hold both to the same numbers.
package flights
