// Package alerts delivers events to people and programs: what a Subscription wants, by which Channel
// it gets it, and what becomes of an event that its receiver refuses (Delivery, Receivers).
package alerts
