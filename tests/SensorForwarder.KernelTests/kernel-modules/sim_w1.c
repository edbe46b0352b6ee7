// SPDX-License-Identifier: GPL-2.0
/*
 * A 1-Wire master with up to twenty DS18B20. Debugfs files under sim_w1 set the number of them, the value that the first
 * measures (each other one measures a degree more than the one before), and faults, and count conversions.
 * Data sheet: Maxim DS18B20.
 */
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/w1.h>

#define CONVERT 0x44
#define READ_SCRATCHPAD 0xbe
#define SKIP_ROM 0xcc
#define MATCH_ROM 0x55
#define POWER_ON_TEMPERATURE 0x0550
#define MAX_DEVICES 20
#define SERIAL 0x0316a2795e1fULL

static u32 present = 1;
static u32 raw = 0x0191;    /* sixteenths of a degree, 16 bits */
static u32 bad_crc;         /* number of scratchpads with a wrong checksum */
static u32 brown_out;       /* conversions fail: the register keeps its power-on value */
static u32 devices = 1;
static u32 single_conversions; /* of one device, by its address */
static u32 bulk_conversions;   /* of all devices */
static u16 measured[MAX_DEVICES] = { [0 ... MAX_DEVICES - 1] = POWER_ON_TEMPERATURE };
static u8 scratchpad[9];
static int at, skip, selected; /* selected: -1 for all */
static struct dentry *directory;

static u64 rom(int device)
{
	u64 id = 0x28ULL | (SERIAL + device) << 8;
	u8 bytes[7];
	int i;

	for (i = 0; i < 7; i++)
		bytes[i] = id >> (8 * i);
	return id | (u64)w1_calc_crc8(bytes, 7) << 56;
}

static void fill(void)
{
	u16 value = measured[max(selected, 0)];
	bool converted = !(value == POWER_ON_TEMPERATURE && brown_out);

	scratchpad[0] = value;
	scratchpad[1] = value >> 8;
	scratchpad[2] = 0x4b;
	scratchpad[3] = 0x46;
	scratchpad[4] = 0x7f; /* 12 bits */
	scratchpad[5] = 0xff;
	scratchpad[6] = converted ? 0x10 - (value & 0xf) : 0x0c;
	scratchpad[7] = 0x10;
	scratchpad[8] = w1_calc_crc8(scratchpad, 8);
	if (bad_crc) {
		bad_crc--;
		scratchpad[8] ^= 0x55;
	}
}

static u8 reset_bus(void *data)
{
	at = sizeof(scratchpad);
	skip = 0;
	selected = -1;
	return present ? 0 : 1;
}

static void convert(void)
{
	int i;

	if (selected < 0)
		bulk_conversions++;
	else
		single_conversions++;
	for (i = 0; i < MAX_DEVICES; i++)
		if (selected < 0 || selected == i)
			measured[i] = brown_out ? POWER_ON_TEMPERATURE : raw + 16 * i;
}

static void write_byte(void *data, u8 byte)
{
	if (skip) {
		if (skip == 7) /* the lowest byte of the serial number */
			selected = clamp_t(int, (u8)(byte - (u8)SERIAL), 0, MAX_DEVICES - 1);
		skip--;
		return;
	}
	switch (byte) {
	case MATCH_ROM:
		skip = 8;
		break;
	case CONVERT:
		convert();
		break;
	case READ_SCRATCHPAD:
		fill();
		at = 0;
		break;
	}
}

static u8 read_byte(void *data)
{
	return present && at < sizeof(scratchpad) ? scratchpad[at++] : 0xff;
}

/* The chip is externally powered, and conversions complete at once. */
static u8 touch_bit(void *data, u8 bit)
{
	return 1;
}

static void search(void *data, struct w1_master *master, u8 type, w1_slave_found_callback found)
{
	int i;

	for (i = 0; present && i < clamp_t(int, devices, 1, MAX_DEVICES); i++)
		found(master, rom(i));
}

static struct w1_bus_master master = {
	.reset_bus = reset_bus,
	.write_byte = write_byte,
	.read_byte = read_byte,
	.touch_bit = touch_bit,
	.search = search,
};

static int __init start(void)
{
	int error = w1_add_master_device(&master);

	if (error)
		return error;
	directory = debugfs_create_dir("sim_w1", NULL);
	debugfs_create_u32("present", 0644, directory, &present);
	debugfs_create_x32("raw", 0644, directory, &raw);
	debugfs_create_u32("bad_crc", 0644, directory, &bad_crc);
	debugfs_create_u32("brown_out", 0644, directory, &brown_out);
	debugfs_create_u32("devices", 0644, directory, &devices);
	debugfs_create_u32("single_conversions", 0644, directory, &single_conversions);
	debugfs_create_u32("bulk_conversions", 0644, directory, &bulk_conversions);
	return 0;
}

static void __exit stop(void)
{
	debugfs_remove_recursive(directory);
	w1_remove_master_device(&master);
}

module_init(start);
module_exit(stop);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("1-wire master with simulated DS18B20, for tests");
