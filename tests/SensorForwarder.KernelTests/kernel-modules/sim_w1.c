// SPDX-License-Identifier: GPL-2.0
/*
 * A 1-Wire master with one DS18B20. Debugfs files under sim_w1 set the measured value and faults.
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

static u32 present = 1;
static u32 raw = 0x0191;    /* sixteenths of a degree, 16 bits */
static u32 bad_crc;         /* number of scratchpads with a wrong checksum */
static u32 brown_out;       /* conversions fail: the register keeps its power-on value */
static u16 measured = POWER_ON_TEMPERATURE;
static u8 scratchpad[9];
static int at, skip;
static struct dentry *directory;

static u64 rom(void)
{
	u64 id = 0x28ULL | 0x0316a2795e1fULL << 8;
	u8 bytes[7];
	int i;

	for (i = 0; i < 7; i++)
		bytes[i] = id >> (8 * i);
	return id | (u64)w1_calc_crc8(bytes, 7) << 56;
}

static void fill(void)
{
	bool converted = !(measured == POWER_ON_TEMPERATURE && brown_out);

	scratchpad[0] = measured;
	scratchpad[1] = measured >> 8;
	scratchpad[2] = 0x4b;
	scratchpad[3] = 0x46;
	scratchpad[4] = 0x7f; /* 12 bits */
	scratchpad[5] = 0xff;
	scratchpad[6] = converted ? 0x10 - (measured & 0xf) : 0x0c;
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
	return present ? 0 : 1;
}

static void write_byte(void *data, u8 byte)
{
	if (skip) {
		skip--;
		return;
	}
	switch (byte) {
	case MATCH_ROM:
		skip = 8;
		break;
	case CONVERT:
		measured = brown_out ? POWER_ON_TEMPERATURE : raw;
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
	if (present)
		found(master, rom());
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
MODULE_DESCRIPTION("1-wire master with a simulated DS18B20, for tests");
