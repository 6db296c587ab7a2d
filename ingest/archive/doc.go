// Package archive keeps the raw readings that are older than their retention: a
// gzip file of line protocol for each kind and day (WIB). It stands between the
// database and all that reads or writes raw points, so that nobody has to know
// where a day lies.
//
// It promises that
//   - a day leaves the database only after a file holds every point of it, with
//     all fields, exactly, and has been fsynced and read back;
//   - at a kill after any step each point lies in the database, in a listed file,
//     or in both, and the next pass goes on from there;
//   - what comes for a day that has left is kept: the next pass writes a new
//     revision that joins both, field by field, the newer value winning; the
//     revisions before it stay;
//   - who reads through it gets what the database would have given, had the day
//     stayed there;
//   - a day of which something is still to be computed stays; so does every day
//     while the clock is not synchronised or the disk is nearly full.
//
// The files are data of the standard at this seam: "zcat FILE" is what InfluxDB's
// /api/v2/write takes back. Each node has a gzip member of its own; the last one
// lists them in comments, so that reading a node costs no more than its points.
package archive
