"""Tests of several processes behind one port."""
