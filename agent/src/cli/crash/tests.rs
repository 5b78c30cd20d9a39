use super::*;

#[test]
fn what_fault_registers_say_is_said_in_words() {
    let reason = "HardFault: CFSR 0x00008200, HFSR 0x40000000, BFAR 0x60000000";
    let wild = "access to where no memory is, at BFAR: a wild pointer";
    let escalated = "the fault escalated, because its own handler is not enabled";
    assert_eq!(fault::meaning(reason), [wild, escalated]);
    for none in ["panic: CFSR", "CFSR 0x123", "CFSR 12345678", "", "HFSR 0xä", "CFSR 0xzzzzzzzz"] {
        assert_eq!(fault::meaning(none), [""; 0], "{none}");
    }
}

#[test]
fn a_stack_is_read_as_it_was_written() {
    assert_eq!(bytes("00feA1").unwrap(), [0, 0xfe, 0xa1]);
    assert!(bytes("").unwrap().is_empty());
    for wrong in ["0x", "zz", "ä"] {
        bytes(wrong).unwrap_err();
    }
}

#[test]
fn the_last_crash_that_is_asked_for_is_found_among_other_documents() {
    let line = |device: &str, boot: u32| {
        format!(
            r#"{{"type":"milepost.crash","source":"/devices/{device}","data":{{"boot":{boot},"image":1,
                "registers":[1,2,3],"reason":"r","stack":""}}}}"#
        )
        .replace('\n', "")
    };
    let lines = [line("a", 1), line("b", 4), line("a", 2), "{}".to_owned(), "no JSON".to_owned()];
    let lines = lines.join("\n");
    let found = |device: Option<&str>, boot: Option<u32>| {
        let device = device.map(|device| device.parse().unwrap());
        let show = Show { device, boot, image: Vec::new(), document: None, json: false };
        let crash = show.last_in(lines.as_bytes()).unwrap();
        crash.map(|crash| (crash.device().to_owned(), crash.data.boot))
    };
    assert_eq!(found(None, None), Some(("a".to_owned(), 2)));
    assert_eq!(found(Some("b"), None), Some(("b".to_owned(), 4)));
    assert_eq!(found(Some("a"), Some(1)), Some(("a".to_owned(), 1)));
    assert_eq!(found(Some("a"), Some(4)), None);
    assert_eq!(found(Some("c"), None), None);
}

#[test]
fn of_another_image_nothing_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("text");
    std::fs::write(&file, "no ELF").unwrap();
    let refused = |path: &std::path::Path| match Image::find(&[path.to_owned()], 7) {
        Err(error) => format!("{error:#}"),
        Ok(_) => panic!("it is none"),
    };
    assert!(refused(&file).contains("is no ELF file"), "{}", refused(&file));
    assert!(refused(dir.path()).contains("no image there"), "{}", refused(dir.path()));
    assert!(refused(&dir.path().join("missing")).contains("cannot read"));
    assert!(Image::find(&[], 7).unwrap().is_none());
}
