"""From files to tables, whatever form they are written in."""
