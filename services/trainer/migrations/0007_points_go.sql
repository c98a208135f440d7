-- Points have no column `job`: they go with their series when an ended job is cleared.
CREATE TRIGGER points_go AFTER DELETE ON series BEGIN
    DELETE FROM point WHERE series = OLD.number;
END;
